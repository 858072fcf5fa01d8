import type { HttpObserver, HttpTransfer } from '#http/mod.ts';
import type { AddressBook } from './address-book.ts';
import type { Timeline } from './timeline.ts';

type Options = {
  readonly timeline: Timeline;
  readonly addresses: AddressBook;
  /** A loader arrived: what this machine was offered works. */
  readonly onLoader: (mac: string) => void;
};

/** Tells the timeline what went over HTTP: loaders, kernels, ISOs. Scripts tell for themselves. */
export class HttpStory implements HttpObserver {
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  started(transfer: HttpTransfer): void {
    // An ISO is read piece by piece for as long as the machine runs: its first piece is the news.
    if (transfer.method !== 'GET' || !transfer.path.startsWith('/images/')) return;
    this.#reach(transfer, 'disk', { iso: transfer.path.slice('/images/'.length) });
  }

  finished(transfer: HttpTransfer, sentBytes: number, durationMs: number): void {
    if (transfer.method !== 'GET' || transfer.status >= 300) {
      this.#refused(transfer);
      return;
    }
    const facts = { bytes: sentBytes, ms: Math.round(durationMs) };
    if (transfer.path.startsWith('/loader/')) {
      const mac = this.#reach(transfer, 'loader', {
        file: transfer.path.slice('/loader/'.length),
        by: 'http',
        ...facts,
      });
      if (mac !== undefined) this.#options.onLoader(mac);
    } else if (transfer.path.startsWith('/files/')) {
      this.#reach(transfer, 'disk', { file: transfer.path.slice('/files/'.length), ...facts });
    }
  }

  failed(transfer: HttpTransfer, sentBytes: number, _durationMs: number, why: string): void {
    const mac = this.#options.addresses.macOf(transfer.remoteAddress);
    // iPXE and firmware cut a transfer when they have what they wanted: only whole files matter.
    if (mac === undefined || transfer.range !== undefined || transfer.method !== 'GET') return;
    const facts = { path: transfer.path, bytes: sentBytes };
    this.#options.timeline.stop(mac, facts, {
      what: `The transfer of ${transfer.path} broke off.`,
      why,
      todo: 'If it happens again, look at the cable and the switch port.',
    });
  }

  #refused(transfer: HttpTransfer): void {
    if (transfer.status !== 404 || transfer.method !== 'GET') return;
    if (!/^\/(?:files|images|loader)\//.test(transfer.path)) return;
    const mac = this.#options.addresses.macOf(transfer.remoteAddress);
    if (mac === undefined) return;
    this.#options.timeline.stop(
      mac,
      { path: transfer.path, status: 404 },
      {
        what: `The machine asked for ${transfer.path}, and it is not there.`,
        todo: 'Put the file into the folder of boot files (`files:` in polyboot.yaml), or correct the boot plan.',
      },
    );
  }

  #reach(
    transfer: HttpTransfer,
    stage: 'loader' | 'disk',
    facts: Record<string, string | number>,
  ): string | undefined {
    const mac = this.#options.addresses.macOf(transfer.remoteAddress);
    if (mac !== undefined) this.#options.timeline.reach(mac, stage, facts);
    return mac;
  }
}
