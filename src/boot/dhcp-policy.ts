import type { BootAnswer, BootRequest, DhcpClient, DhcpPolicy, Reservation } from '#dhcp/mod.ts';
import type { MachineService } from '#machines/mod.ts';
import { baseUrl, PATHS } from './urls.ts';

/** The iPXE file for an architecture (option 93); undefined when none is at hand. */
export interface LoaderChoice {
  fileFor(arch: number): string | undefined;
}

/** A host that is no machine of ours but has a fixed address (a printer, an access point). */
export type FixedHost = { readonly address: string; readonly hostName?: string };

type Options = {
  readonly machines: MachineService;
  readonly loaders: LoaderChoice;
  readonly httpPort: number;
  /** MAC → fixed host, from the configuration. */
  readonly fixedHosts?: ReadonlyMap<string, FixedHost>;
};

/**
 * Which address and which boot file a client gets. Firmware gets the loader for its architecture;
 * iPXE gets the URL of its script and never the loader again, which would loop for ever; an
 * operating system gets an address only.
 */
export class BootDhcpPolicy implements DhcpPolicy {
  readonly #options: Options;

  #reserved: ReadonlySet<string> = new Set();

  constructor(options: Options) {
    this.#options = options;
    this.#readReserved();
    options.machines.subscribe((event) => {
      const before = event.kind === 'changed' ? event.before.address : undefined;
      if (event.machine.address !== before) this.#readReserved();
    });
  }

  reservationFor(client: DhcpClient): Reservation | undefined {
    const machine = this.#options.machines.byMac(client.mac);
    const host = this.#options.fixedHosts?.get(client.mac);
    // One that only introduced itself is a stranger still: anybody can introduce a thousand.
    if (machine?.registered === true) {
      const address = machine.address === undefined ? {} : { address: machine.address };
      return { ...host, ...address, hostName: machine.name };
    }
    return host;
  }

  isReserved(address: string): boolean {
    return this.#reserved.has(address);
  }

  #readReserved(): void {
    const { machines, fixedHosts } = this.#options;
    this.#reserved = new Set([
      ...machines.list().flatMap((m) => m.address ?? []),
      ...Array.from(fixedHosts?.values() ?? [], (h) => h.address),
    ]);
  }

  bootAnswer(request: BootRequest): BootAnswer | undefined {
    switch (request.stage) {
      case 'none':
        return { kind: 'none' };
      case 'ipxe':
        return this.#script(request);
      case 'http-client':
        return this.#loader(request, 'url');
      case 'firmware':
        return this.#loader(request, 'tftp');
    }
  }

  #script(request: BootRequest): BootAnswer {
    const base = baseUrl(request.serverAddress, this.#options.httpPort);
    return { kind: 'url', url: base + PATHS.script(request.mac) };
  }

  #loader(request: BootRequest, by: 'url' | 'tftp'): BootAnswer | undefined {
    const chosen = this.#options.machines.byMac(request.mac)?.loader;
    const file = chosen ?? this.#options.loaders.fileFor(request.arch ?? 0);
    if (file === undefined) return undefined;
    if (/^https?:\/\//.test(file)) return { kind: 'url', url: file };
    if (by === 'tftp') return { kind: 'tftp', file };
    const base = baseUrl(request.serverAddress, this.#options.httpPort);
    return { kind: 'url', url: base + PATHS.loader(file) };
  }
}
