import type { Counters } from '#base/mod.ts';
import { sequenceOf, writePdu } from './answers.ts';
import { Collector } from './collector.ts';
import type { ServerCounter } from './events.ts';
import type { FullFeature } from './full-feature.ts';
import { IMMEDIATE_COMMANDS_MAX, PING_BYTES_MAX, SERVICE_OUTPUT_BYTES_MAX } from './limits.ts';
import { AsyncEvent, LogoutReason, LogoutResult, NO_BYTES } from './pdu/mod.ts';
import { Opcode, RESERVED_TAG, RejectReason } from './pdu/mod.ts';
import { decodeLogoutRequest, decodeNopOut, decodeTaskManagementRequest } from './pdu/mod.ts';
import { decodeTextRequest, encodeAsyncMessage, encodeLogoutResponse } from './pdu/mod.ts';
import {
  encodeNopIn,
  encodeTaskManagementResponse,
  encodeTextResponse,
  opcodeOf,
} from './pdu/mod.ts';
import type { Pdu } from './pdu/mod.ts';
import type { PduSink, ReceiveFault } from './receiver.ts';
import type { Session } from './session.ts';
import { manageTasks } from './task-management.ts';
import type { Target } from './target.ts';
import type { TextPhase } from './text-phase.ts';

/** What the services ask of their connection. */
export interface ServiceOwner {
  /** The logout response is written: send it, then close. */
  loggedOut(): void;
  protocolError(reason: string): void;
}

/** Long enough for any initiator to finish what it has in flight (RFC 7143 §11.9.1: Parameter3). */
const LOGOUT_WITHIN_S = 3;

/**
 * The PDUs beside commands and their data: NOP, Text, Task Management, Logout, SNACK. None is hot:
 * each is collected whole and goes through its codec. In a discovery session these are all there
 * is.
 */
export class Services implements PduSink {
  readonly #session: Session;
  readonly #feature: FullFeature;
  /** Null in a discovery session. */
  readonly #target: Target | null;
  readonly #text: TextPhase;
  readonly #owner: ServiceOwner;
  readonly #counters: Counters<ServerCounter>;
  readonly #collector = new Collector(PING_BYTES_MAX);
  #pingTag = 0;
  /** Task management and logouts that wait for tasks to become quiet. */
  #waiting = 0;

  constructor(options: {
    readonly session: Session;
    readonly feature: FullFeature;
    readonly target: Target | null;
    readonly text: TextPhase;
    readonly owner: ServiceOwner;
    readonly counters: Counters<ServerCounter>;
  }) {
    this.#session = options.session;
    this.#feature = options.feature;
    this.#target = options.target;
    this.#text = options.text;
    this.#owner = options.owner;
    this.#counters = options.counters;
  }

  header(
    _view: DataView,
    bytes: Uint8Array,
    at: number,
    _ahsBytes: number,
    dataBytes: number,
  ): void {
    this.#collector.begin(bytes, at, dataBytes);
  }

  data(bytes: Uint8Array, at: number, lengthBytes: number): void {
    this.#collector.add(bytes, at, lengthBytes);
  }

  end(): void {
    const pdu = this.#collector.take();
    // Reads wait when the output is full, so that what is beyond it are answers of ours here.
    if (this.#feature.output.unsentBytes > SERVICE_OUTPUT_BYTES_MAX) {
      this.#owner.protocolError('more is asked for than is read');
      return;
    }
    switch (opcodeOf(pdu)) {
      case Opcode.NOP_OUT:
        this.#nopOut(pdu);
        return;
      case Opcode.TEXT_REQUEST:
        this.#textRequest(pdu);
        return;
      case Opcode.TASK_MANAGEMENT_REQUEST:
        this.#taskManagement(pdu);
        return;
      case Opcode.LOGOUT_REQUEST:
        this.#logout(pdu);
        return;
      case Opcode.SNACK_REQUEST:
        this.#reject(RejectReason.SNACK_REJECT);
        return;
      case Opcode.LOGIN_REQUEST:
        this.#owner.protocolError('login after login');
        return;
      default:
        this.#reject(RejectReason.COMMAND_NOT_SUPPORTED);
    }
  }

  fault(fault: ReceiveFault): void {
    if (fault === 'data-digest') this.#counters.inc('data-digest-errors');
    else if (fault === 'header-digest') this.#counters.inc('header-digest-errors');
    // Recovery level 0: without a header there is no telling where the next PDU begins (§7.7).
    if (fault === 'header-digest') this.#owner.protocolError('a header digest is wrong');
    if (fault === 'segment-too-long') this.#owner.protocolError('a data segment is too long');
  }

  /** Asks whether the initiator is alive (RFC 7143 §11.19). */
  ping(): void {
    this.#pingTag = (this.#pingTag + 1) & 0x7fffffff;
    this.#write(
      encodeNopIn({
        lun: 0,
        initiatorTaskTag: RESERVED_TAG,
        targetTransferTag: this.#pingTag,
        ...sequenceOf(this.#session, false),
        data: NO_BYTES,
      }),
    );
    this.#feature.output.flush();
  }

  /** Asks the initiator to log out (RFC 7143 §11.9.1, event 1). */
  requestLogout(): void {
    this.#write(
      encodeAsyncMessage({
        lun: 0,
        event: AsyncEvent.LOGOUT_REQUEST,
        vendorCode: 0,
        parameter1: 0,
        parameter2: 0,
        parameter3: LOGOUT_WITHIN_S,
        ...sequenceOf(this.#session, true),
        data: NO_BYTES,
      }),
    );
    this.#feature.output.flush();
  }

  #nopOut(pdu: Pdu): void {
    const nop = decodeNopOut(pdu);
    // The answer to a ping of ours: that it came is all there is to know.
    if (nop.initiatorTaskTag === RESERVED_TAG) return;
    if (!this.#feature.acceptCommand(nop.cmdSn, nop.immediate)) return;
    const limit = Math.min(this.#session.negotiated.initiatorSegmentBytes, PING_BYTES_MAX);
    this.#write(
      encodeNopIn({
        lun: nop.lun,
        initiatorTaskTag: nop.initiatorTaskTag,
        targetTransferTag: RESERVED_TAG,
        ...sequenceOf(this.#session, true),
        data: nop.data.subarray(0, limit),
      }),
    );
  }

  #textRequest(pdu: Pdu): void {
    const request = decodeTextRequest(pdu);
    if (!this.#feature.acceptCommand(request.cmdSn, request.immediate)) return;
    const outcome = this.#text.step(request);
    if (outcome.kind === 'reject') this.#reject(outcome.reason);
    else
      this.#write(encodeTextResponse({ ...outcome.response, ...sequenceOf(this.#session, true) }));
  }

  #taskManagement(pdu: Pdu): void {
    const request = decodeTaskManagementRequest(pdu);
    if (!this.#feature.acceptCommand(request.cmdSn, request.immediate)) return;
    if (this.#target === null) {
      this.#reject(RejectReason.COMMAND_NOT_SUPPORTED);
      return;
    }
    if (!this.#mayWait()) return;
    manageTasks(request, this.#feature, this.#target, (response, afterwards) => {
      this.#waiting -= 1;
      this.#write(
        encodeTaskManagementResponse({
          response,
          initiatorTaskTag: request.initiatorTaskTag,
          ...sequenceOf(this.#session, true),
        }),
      );
      if (afterwards === undefined) this.#feature.wake();
      else {
        this.#feature.output.flush();
        afterwards();
      }
    });
  }

  #logout(pdu: Pdu): void {
    const request = decodeLogoutRequest(pdu);
    if (!this.#feature.acceptCommand(request.cmdSn, request.immediate)) return;
    const response = this.#logoutResult(request.reason, request.cid);
    if (!this.#mayWait()) return;
    const answer = (): void => {
      this.#waiting -= 1;
      this.#write(
        encodeLogoutResponse({
          response,
          initiatorTaskTag: request.initiatorTaskTag,
          ...sequenceOf(this.#session, true),
          timeToWaitS: this.#session.negotiated.timeToWaitS,
          timeToRetainS: this.#session.negotiated.timeToRetainS,
        }),
      );
      if (response === LogoutResult.CLOSED) this.#owner.loggedOut();
      else this.#feature.wake();
    };
    // What the initiator left unfinished must not reach the disk after it was told of the end.
    if (response === LogoutResult.CLOSED) this.#feature.abortAll(() => true, answer);
    else answer();
  }

  /** Counts a request that may have to wait for a disk; refuses when too many do. */
  #mayWait(): boolean {
    if (this.#waiting >= IMMEDIATE_COMMANDS_MAX) {
      this.#reject(RejectReason.TOO_MANY_IMMEDIATE_COMMANDS);
      return false;
    }
    this.#waiting += 1;
    return true;
  }

  #logoutResult(reason: number, cid: number): number {
    if (reason === LogoutReason.CLOSE_SESSION) return LogoutResult.CLOSED;
    if (reason !== LogoutReason.CLOSE_CONNECTION) return LogoutResult.RECOVERY_NOT_SUPPORTED;
    return cid === this.#session.cid ? LogoutResult.CLOSED : LogoutResult.CID_NOT_FOUND;
  }

  #reject(reason: RejectReason): void {
    this.#feature.reject(reason, this.#collector.header);
  }

  #write(pdu: Pdu): void {
    writePdu(this.#session, this.#feature.output, pdu);
  }
}
