import type { Clock, Log } from '#base/mod.ts';
import { findLoaders, type FoundLoader } from '#ipxe/mod.ts';
import {
  FolderFiles,
  TftpServer,
  type TftpClient,
  type TftpFile,
  type TftpFiles,
} from '#tftp/mod.ts';
import type { Config } from './config.ts';
import type { BootNetwork } from './networks.ts';
import type { ServerParts } from './server-parts.ts';

type Inputs = {
  readonly config: Config;
  readonly networks: readonly BootNetwork[];
  readonly parts: ServerParts;
  readonly clock: Clock;
  readonly log: Log;
};

/** TFTP on every boot network, with what status displays want. */
export type TftpService = {
  readonly counters: Readonly<Record<string, number>>;
  stop(): Promise<void>;
};

/** Starts TFTP on all networks or on none. Throws EnvironmentError. */
export async function startTftp(inputs: Inputs): Promise<TftpService> {
  const { config, networks, parts, clock, log } = inputs;
  const files = new LoaderFolders(config.loaders);
  const server = new TftpServer({
    listen: networks.map((n) => ({
      address: n.address,
      port: config.tftp.port,
      mtuBytes: n.interface.mtu,
    })),
    files,
    observer: parts.tftpStory,
    singlePort: config.tftp.singlePort,
    clock,
    log,
  });
  try {
    await server.start();
  } catch (e) {
    files.close();
    throw e;
  }
  return {
    get counters() {
      return server.counters;
    },
    stop: async () => {
      await server.stop();
      files.close();
    },
  };
}

/**
 * The folders of loaders, jailed. A loader that the distribution keeps elsewhere and links to
 * (Debian: ipxe.efi → /boot) is served by its exact name, and nothing else from where it lies.
 */
class LoaderFolders implements TftpFiles {
  readonly #folders: FolderFiles;
  readonly #linked = new Map<
    string,
    { readonly loader: FoundLoader; readonly files: FolderFiles }
  >();

  constructor(folders: readonly string[]) {
    const { found } = findLoaders(folders);
    const present = folders.filter((f) => found.some((l) => l.folder === f));
    this.#folders = new FolderFiles(present);
    for (const loader of found) {
      if (present.includes(loader.root)) continue;
      this.#linked.set(loader.fact.file, { loader, files: new FolderFiles([loader.root]) });
    }
  }

  async open(name: string, client: TftpClient): Promise<TftpFile> {
    const linked = this.#linked.get(name.replace(/^\/+/, ''));
    if (linked !== undefined) return await linked.files.open(linked.loader.path, client);
    return await this.#folders.open(name, client);
  }

  close(): void {
    this.#folders.close();
    for (const { files } of this.#linked.values()) files.close();
  }
}
