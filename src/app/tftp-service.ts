import { statSync } from 'node:fs';
import type { Clock, Log } from '#base/mod.ts';
import { findLoaders, type FoundLoader } from '#ipxe/mod.ts';
import { FolderFiles, TftpServer, type TftpFile, type TftpFiles } from '#tftp/mod.ts';
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
  /** Over all networks. */
  counters(): Record<string, number>;
  stop(): Promise<void>;
};

/** Starts TFTP on all networks or on none. Throws EnvironmentError. */
export async function startTftp(inputs: Inputs): Promise<TftpService> {
  const { config, networks, parts, clock, log } = inputs;
  const files = new LoaderFolders(config.loaders);
  const servers: TftpServer[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map((s) => s.close()));
    files.close();
  };
  try {
    for (const network of networks) {
      const { port, singlePort } = config.tftp;
      const { address } = network;
      const mtu = network.interface.mtu;
      const observer = parts.tftpStory;
      servers.push(
        await TftpServer.open({ address, port, mtu, files, observer, singlePort, clock, log }),
      );
    }
  } catch (e) {
    await stop();
    throw e;
  }
  return { counters: () => sum(servers.map((s) => s.counters())), stop };
}

function sum(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const one of all) {
    for (const [name, count] of Object.entries(one)) total[name] = (total[name] ?? 0) + count;
  }
  return total;
}

/**
 * The folders of loaders, jailed. A loader that the distribution keeps elsewhere and links to
 * (Debian: ipxe.efi → /boot) is served by its exact name, and nothing else from where it lies.
 */
export class LoaderFolders implements TftpFiles {
  readonly #folders: FolderFiles;
  readonly #linked = new Map<
    string,
    { readonly loader: FoundLoader; readonly files: FolderFiles }
  >();

  constructor(folders: readonly string[]) {
    const { found } = findLoaders(folders);
    // Also one without any build that we know by name: a machine may name its own file in it.
    const present = folders.filter((f) => isFolder(f));
    this.#folders = new FolderFiles(present);
    for (const loader of found) {
      if (present.includes(loader.root)) continue;
      this.#linked.set(loader.fact.file, { loader, files: new FolderFiles([loader.root]) });
    }
  }

  async open(name: string): Promise<TftpFile> {
    const linked = this.#linked.get(name.replace(/^\/+/, ''));
    if (linked !== undefined) return await linked.files.open(linked.loader.path);
    return await this.#folders.open(name);
  }

  close(): void {
    this.#folders.close();
    for (const { files } of this.#linked.values()) files.close();
  }
}

/** Also false for one that we may not look into. */
function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}
