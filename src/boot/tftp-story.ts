import type { Log } from '#base/mod.ts';
import { printable } from '#base/mod.ts';
import type { TftpFailure, TftpFinished, TftpObserver, TftpRequest } from '#tftp/mod.ts';
import type { AddressBook } from './address-book.ts';
import type { Timeline } from './timeline.ts';

type Options = {
  readonly timeline: Timeline;
  readonly addresses: AddressBook;
  readonly log: Log;
  /** A loader is on its way: what this machine was offered works. */
  readonly onLoader: (mac: string) => void;
};

/** What to do about each way a transfer can fail; those without a row are usual and no problem. */
const ADVICE: Partial<Record<TftpFailure, string>> = {
  'not-found':
    'Put the file into a folder named under `loaders:` in polyboot.yaml, or name another with `polyboot machine set NAME --loader FILE`.',
  forbidden: 'The file leads out of the folder of loaders: put a real copy into the folder.',
  unavailable: 'Check the rights of the file, and the disk it lies on.',
  'no-answer':
    'Our packets do not reach the machine: open the UDP ports above 1024 for outgoing traffic, or set `tftp: { singlePort: true }`.',
  'timed-out': 'The machine fell silent while it read: look at the cable and the switch port.',
};

/** Tells the timeline what went over TFTP. */
export class TftpStory implements TftpObserver {
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  started(request: TftpRequest): void {
    const mac = this.#options.addresses.macOf(request.client.address);
    if (mac !== undefined) this.#options.onLoader(mac);
  }

  finished(request: TftpRequest, facts: TftpFinished): void {
    const mac = this.#options.addresses.macOf(request.client.address);
    if (mac === undefined) return;
    this.#options.timeline.reach(mac, 'loader', {
      file: request.name,
      by: 'tftp',
      bytes: facts.sizeBytes,
      ms: Math.round(facts.durationMs),
      ...(facts.retransmissions > 0 ? { resent: facts.retransmissions } : {}),
    });
  }

  failed(request: TftpRequest, reason: TftpFailure, message: string): void {
    const { timeline, addresses, log } = this.#options;
    log.info(
      { client: request.client.address, file: request.name, reason, message },
      'TFTP failed',
    );
    const todo = ADVICE[reason];
    const mac = addresses.macOf(request.client.address);
    if (mac === undefined || todo === undefined) return;
    // iPXE looks for an autoexec script beside its loader; that it is missing is as it should be.
    if (reason === 'not-found' && /autoexec\.ipxe$/i.test(request.name)) return;
    timeline.stop(
      mac,
      { file: request.name, reason },
      {
        what: `The loader ${printable(request.name, 80)} could not be sent.`,
        why: printable(message, 200),
        todo,
      },
    );
  }
}
