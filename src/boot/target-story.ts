import type { Log } from '#base/mod.ts';
import type { SessionInfo, TargetEvent, TargetObserver } from '#iscsi/mod.ts';
import { parseTargetName, type MachineService } from '#machines/mod.ts';
import type { AddressBook } from './address-book.ts';
import type { Facts, Timeline } from './timeline.ts';

type Options = {
  readonly timeline: Timeline;
  readonly machines: MachineService;
  readonly addresses: AddressBook;
  readonly log: Log;
};

type LoginRefused = Extract<TargetEvent, { kind: 'login-refused' }>;

/** Tells the timeline what the iSCSI target saw. */
export class TargetStory implements TargetObserver {
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  event(event: TargetEvent): void {
    if (event.kind === 'login-refused') {
      this.#refused(event);
      return;
    }
    const { session } = event;
    if (session.kind === 'discovery') return;
    const mac = this.#macOf(session.initiatorName, session.peer.address);
    if (mac === undefined) return;
    const facts: Facts = driveFacts(session);
    if (event.kind === 'login') {
      const chap = session.authenticated ? { chap: true } : {};
      this.#options.timeline.reach(mac, session.firmware ? 'login' : 'os', { ...facts, ...chap });
    } else if (event.kind === 'first-read' && session.firmware) {
      this.#options.timeline.reach(mac, 'disk', facts);
    } else {
      this.#options.log.info({ mac, ...facts, ...reasonOf(event) }, `iSCSI ${event.kind}`);
    }
  }

  #refused(event: LoginRefused): void {
    const { initiatorName, targetName, peer, reason } = event;
    const mac = this.#macOf(initiatorName ?? '', peer.address);
    const facts = { peer: peer.address, initiator: initiatorName ?? '', target: targetName ?? '' };
    this.#options.log.warn({ ...facts, reason }, 'iSCSI login refused');
    // Status 0: the connection just ended, as a port scan or a reset machine leaves it.
    if (mac === undefined || event.status === 0) return;
    this.#options.timeline.stop(
      mac,
      { target: targetName ?? '', status: `0x${event.status.toString(16).padStart(4, '0')}` },
      { what: 'The login to the disk was refused.', why: reason, todo: adviceFor(event.status) },
    );
  }

  /** The card a machine boots by: the one behind the address if it is the machine's. */
  #macOf(initiatorName: string, address: string): string | undefined {
    const machine = this.#options.machines.byInitiatorName(initiatorName);
    const behind = this.#options.addresses.macOf(address);
    if (machine === undefined) return behind;
    return behind !== undefined && machine.macs.includes(behind) ? behind : machine.macs[0];
  }
}

function driveFacts(session: SessionInfo): Facts {
  const drive = parseTargetName(session.targetName);
  return drive === undefined ? { target: session.targetName } : { drive: drive.index };
}

function reasonOf(event: TargetEvent): Facts {
  if (event.kind === 'connection-lost') return { reason: event.reason };
  if (event.kind === 'session-fenced') return { reason: event.why };
  return {};
}

/** Login status (RFC 7143 §11.13.5) → what its owner can do. */
function adviceFor(status: number): string {
  switch (status) {
    case 0x0201:
      return 'Compare the CHAP user and secret of the machine (polyboot machine set NAME --chap-user … --chap-secret-file …) with what its initiator sends.';
    case 0x0202:
      return 'This disk belongs to another machine: `polyboot image show IMAGE` says to which.';
    case 0x0203:
      return 'The machine has no such drive: `polyboot machine show NAME` lists its drives.';
    default:
      return 'Look at the log of `polyboot up` around this time.';
  }
}
