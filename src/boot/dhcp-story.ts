import type { Log } from '#base/mod.ts';
import { architecture, type BootStage, type DhcpEvent, type DhcpObserver } from '#dhcp/mod.ts';
import type { AddressBook } from './address-book.ts';
import type { Facts, Timeline } from './timeline.ts';

/** Machines whose last question is remembered between a request and its answer. */
const QUESTIONS_MAX = 4096;

type Options = {
  readonly timeline: Timeline;
  readonly addresses: AddressBook;
  readonly log: Log;
};

/** Tells the timeline what the DHCP service saw. */
export class DhcpStory implements DhcpObserver {
  readonly #options: Options;
  readonly #asked = new Map<string, BootStage>();

  constructor(options: Options) {
    this.#options = options;
  }

  dhcp(event: DhcpEvent): void {
    switch (event.kind) {
      case 'discover':
      case 'request':
        this.#asks(event);
        break;
      case 'ack':
        this.#options.addresses.learn(event.address, event.mac);
        this.#answered(event.mac, { address: event.address, ...bootFacts(event.boot) });
        break;
      case 'proxy-offer':
        if (event.boot.kind !== 'none') {
          this.#answered(event.mac, { proxy: true, ...bootFacts(event.boot) });
        }
        break;
      case 'dropped':
        this.#dropped(event);
        break;
      case 'foreign-server':
        this.#options.log.warn(
          { interface: event.interface, server: event.server },
          'another DHCP server answers on this network',
        );
        break;
      case 'nak':
      case 'decline':
      case 'conflict':
        this.#options.log.info({ ...event }, `DHCP ${event.kind}`);
        break;
      case 'offer':
      case 'inform':
      case 'release':
      case 'proxy-ack':
        break;
    }
  }

  #asks(event: Extract<DhcpEvent, { kind: 'discover' | 'request' | 'inform' }>): void {
    this.#remember(event.mac, event.stage);
    if (event.kind !== 'discover') return;
    if (event.stage !== 'firmware' && event.stage !== 'http-client') return;
    const arch = event.arch === undefined ? undefined : architecture(event.arch);
    this.#options.timeline.reach(event.mac, 'power-on', {
      firmware: arch?.name ?? `unknown architecture ${event.arch ?? '(none)'}`,
      ...(event.stage === 'http-client' ? { httpBoot: true } : {}),
    });
  }

  #answered(mac: string, facts: Facts): void {
    switch (this.#asked.get(mac)) {
      case 'firmware':
      case 'http-client':
        this.#options.timeline.reach(mac, 'dhcp', facts);
        break;
      case 'ipxe':
        this.#options.timeline.reach(mac, 'ipxe', facts);
        break;
      case 'none':
      case undefined:
        // The kernel or the installed system asks for itself: a sign of life after the loader.
        if (this.#options.timeline.stageOf(mac) === 'disk') {
          this.#options.timeline.reach(mac, 'os', facts);
        }
        break;
    }
  }

  #dropped(event: Extract<DhcpEvent, { kind: 'dropped' }>): void {
    if (event.reason === 'unknown-architecture' && event.mac !== '') {
      this.#options.timeline.stop(
        event.mac,
        { reason: event.reason, detail: event.detail ?? '' },
        {
          what: 'There is no loader for this kind of firmware.',
          why: 'Its architecture (DHCP option 93) is not among the loaders found.',
          todo: 'Put an iPXE build for it into a folder named under `loaders:`, or name one with `polyboot machine set NAME --loader FILE`.',
        },
      );
      return;
    }
    if (event.reason === 'no-free-address' && this.#boots(event.mac)) {
      this.#options.timeline.stop(
        event.mac,
        { reason: event.reason },
        {
          what: 'The address pool is used up.',
          todo: 'Make the pool of this network larger in polyboot.yaml, or shorten its lease.',
        },
      );
      return;
    }
    this.#options.log.debug({ ...event }, 'DHCP packet dropped');
  }

  /** Whether it is a machine that boots; a telephone without an address is none. */
  #boots(mac: string): boolean {
    const stage = this.#asked.get(mac) ?? 'none';
    return stage !== 'none' || this.#options.timeline.stageOf(mac) !== undefined;
  }

  #remember(mac: string, stage: BootStage): void {
    this.#asked.delete(mac);
    this.#asked.set(mac, stage);
    if (this.#asked.size <= QUESTIONS_MAX) return;
    const oldest = this.#asked.keys().next().value;
    if (oldest !== undefined) this.#asked.delete(oldest);
  }
}

function bootFacts(boot: Extract<DhcpEvent, { kind: 'ack' }>['boot']): Facts {
  if (boot?.kind === 'tftp') return { boot: boot.file };
  if (boot?.kind === 'url') return { boot: boot.url };
  return {};
}
