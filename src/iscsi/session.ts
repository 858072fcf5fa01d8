import type { Nexus } from '#scsi/mod.ts';
import type { FenceReason, SessionInfo, Traffic } from './events.ts';
import type { Negotiated } from './keys.ts';
import { COMMAND_WINDOW, SEND_SEGMENT_BYTES_MAX } from './limits.ts';
import type { LoginGrant } from './login-types.ts';
import { initiatorPortName } from './names.ts';
import { BHS_BYTES, DIGEST_BYTES } from './pdu/mod.ts';
import type { PortalAddress } from './policy.ts';
import type { Task } from './task.ts';
import { TaskSet } from './task-set.ts';
import { TaskTable } from './task-table.ts';

/** Segments are cut at this where the initiator's limit allows: whole blocks of every disk. */
const SEGMENT_UNIT_BYTES = 4096;
/** The least MaxRecvDataSegmentLength (RFC 7143 §13.12), and the least block. */
const SEGMENT_BYTES_MIN = 512;

/** What a session does when others end it; its connection implements it. */
export interface SessionOwner {
  /**
   * Aborts every task, cuts the connection, and calls `quiet` when nothing of the session can reach
   * a device any more. Must work at any time, also twice.
   */
  fence(why: FenceReason, quiet: () => void): void;
  /**
   * Aborts tasks that match, and calls `quiet` when none of them can reach a device any more.
   * False: there were none.
   */
  abortTasks(lun: number | null, quiet: () => void): boolean;
  /** Asks the initiator to log out (Async Message, event 1). */
  requestLogout(): void;
}

/**
 * A session in full feature phase (RFC 7143 §4.2): sequence numbers, tasks, and what was
 * negotiated, in the form that the data path wants. It has one connection; MC/S is refused in
 * negotiation.
 */
export class Session {
  readonly info: SessionInfo;
  readonly negotiated: Readonly<Negotiated>;
  readonly nexus: Nexus;
  readonly cid: number;
  readonly owner: SessionOwner;
  readonly tasks = new TaskTable();
  readonly taskSet = new TaskSet();
  readonly traffic: Traffic = {
    readCommands: 0,
    readBytes: 0,
    writeCommands: 0,
    writtenBytes: 0,
    otherCommands: 0,
    coldReads: 0,
  };
  readonly startedMs: number;

  /** Sequence numbers (RFC 7143 §4.2.2): next CmdSN expected, next StatSN to use. */
  expCmdSn: number;
  statSn: number;
  /** Commands of the window, and immediate ones, that are not answered. */
  inFlight = 0;
  immediateInFlight = 0;

  readonly headerDigest: boolean;
  readonly dataDigest: boolean;
  /** Header with its digest; all that a data segment costs beside itself and its padding. */
  readonly headBytes: number;
  readonly overheadBytes: number;
  /** Largest data segment we send, and the longest Data-In sequence of whole segments. */
  readonly segmentBytes: number;
  readonly burstBytes: number;

  constructor(options: {
    readonly info: SessionInfo;
    readonly grant: LoginGrant;
    readonly owner: SessionOwner;
    readonly startedMs: number;
  }) {
    const { info, grant } = options;
    const n = grant.negotiated;
    this.info = info;
    this.negotiated = n;
    this.owner = options.owner;
    this.startedMs = options.startedMs;
    this.cid = grant.cid;
    this.nexus = {
      initiatorPort: initiatorPortName(grant.initiatorName, grant.isid),
      initiatorName: grant.initiatorName,
      targetPort: 1,
    };
    this.expCmdSn = grant.cmdSn;
    this.statSn = grant.statSn;
    this.headerDigest = n.headerDigest === 'CRC32C';
    this.dataDigest = n.dataDigest === 'CRC32C';
    this.headBytes = BHS_BYTES + (this.headerDigest ? DIGEST_BYTES : 0);
    this.overheadBytes = this.headBytes + (this.dataDigest ? DIGEST_BYTES : 0);
    this.segmentBytes = segmentBytes(n);
    this.burstBytes = Math.floor(n.maxBurstBytes / this.segmentBytes) * this.segmentBytes;
  }

  /** The last CmdSN that the initiator may use: what is in flight takes room in the window. */
  get maxCmdSn(): number {
    return (this.expCmdSn + COMMAND_WINDOW - 1 - this.inFlight) >>> 0;
  }

  /**
   * Takes the CmdSN of a command (RFC 7143 §4.2.2.1). `outside`: not in the window, or seen before,
   * to be ignored without an answer. `gap`: one connection delivers in order, so that what is
   * missing can never come.
   */
  acceptCmdSn(cmdSn: number): 'next' | 'outside' | 'gap' {
    const ahead = (cmdSn - this.expCmdSn) | 0;
    if (ahead < 0 || ahead >= COMMAND_WINDOW - this.inFlight) return 'outside';
    if (ahead > 0) return 'gap';
    this.expCmdSn = (cmdSn + 1) >>> 0;
    return 'next';
  }

  /** A command begins to take room: in the window, or among the immediate ones. */
  entered(task: Task): void {
    task.nexus = this.nexus;
    if (task.immediate) this.immediateInFlight += 1;
    else this.inFlight += 1;
  }

  /** A command is answered, or given up: its room is free. */
  left(task: Task): void {
    if (task.immediate) this.immediateInFlight -= 1;
    else this.inFlight -= 1;
  }

  /** Takes the StatSN of an answer. */
  takeStatSn(): number {
    const sn = this.statSn;
    this.statSn = (sn + 1) >>> 0;
    return sn;
  }
}

function segmentBytes(n: Readonly<Negotiated>): number {
  const limit = Math.min(n.initiatorSegmentBytes, n.maxBurstBytes, SEND_SEGMENT_BYTES_MAX);
  const unit = limit >= SEGMENT_UNIT_BYTES ? SEGMENT_UNIT_BYTES : SEGMENT_BYTES_MIN;
  return limit - (limit % unit);
}

/** The public description of a session that a login established. */
export function describeSession(options: {
  readonly id: number;
  readonly tsih: number;
  readonly grant: LoginGrant;
  readonly peer: PortalAddress;
  readonly portal: PortalAddress;
  readonly sinceWallMs: number;
}): SessionInfo {
  const { grant, id, tsih, peer, portal, sinceWallMs } = options;
  return {
    id,
    kind: grant.kind,
    initiatorName: grant.initiatorName,
    targetName: grant.targetName,
    isid: grant.isid,
    tsih,
    peer,
    portal,
    headerDigest: grant.negotiated.headerDigest === 'CRC32C',
    dataDigest: grant.negotiated.dataDigest === 'CRC32C',
    authenticated: grant.authenticated,
    firmware: grant.firmware,
    sinceWallMs,
  };
}
