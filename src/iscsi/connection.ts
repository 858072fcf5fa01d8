import { InternalError, messageOf } from '#base/mod.ts';
import { writeFramed } from './answers.ts';
import { Collector } from './collector.ts';
import { textPhaseOf } from './connection-host.ts';
import type { ConnectionHost } from './connection-host.ts';
import type { Phase } from './connection-phase.ts';
import type { Chunk, DataPlane } from './data-plane.ts';
import type { FenceReason, ServerCounter } from './events.ts';
import { endEvent } from './ending.ts';
import type { Ending } from './ending.ts';
import { FullFeature } from './full-feature.ts';
import { KeepAlive } from './keep-alive.ts';
import type { FeatureOwner } from './lane.ts';
import { DISCOVERY_LIFE_MS, LOGIN_DEADLINE_MS, LOGIN_SEGMENT_BYTES_MAX } from './limits.ts';
import { LoginMachine } from './login.ts';
import type { LoginGrant, LoginOutcome } from './login-types.ts';
import { Output } from './output.ts';
import type { Transport } from './output.ts';
import { NO_DIGESTS, Opcode, decodeLoginRequest, encodeLoginRequest } from './pdu/mod.ts';
import { encodeLoginResponse, framePdu, opcodeOf } from './pdu/mod.ts';
import type { LoginRequest, LoginResponse } from './pdu/mod.ts';
import { LoginStatus } from './policy.ts';
import type { PortalAddress } from './policy.ts';
import { Receiver } from './receiver.ts';
import type { PduSink, ReceiveFault } from './receiver.ts';
import { Services } from './services.ts';
import type { ServiceOwner } from './services.ts';
import { Session, describeSession } from './session.ts';
import type { SessionOwner } from './session.ts';
import { NO_LOGICAL_UNITS } from './target.ts';
import type { Target } from './target.ts';

/**
 * One connection from accept to close, whatever it is made of (a socket, or two arrays in a test).
 */
export class Connection implements PduSink, SessionOwner, FeatureOwner, ServiceOwner {
  readonly peer: PortalAddress;
  readonly portal: PortalAddress;
  readonly #host: ConnectionHost;
  readonly #transport: Transport;
  readonly #output: Output;
  readonly #receiver: Receiver;
  readonly #collector = new Collector();
  #phase: Phase;
  #paused = false;
  readonly #alive = new KeepAlive();
  /** Those who wait for the end of the tasks; null while the session lives. */
  #draining: (() => void)[] | null = null;

  constructor(
    host: ConnectionHost,
    transport: Transport,
    ends: { readonly peer: PortalAddress; readonly portal: PortalAddress },
  ) {
    this.peer = ends.peer;
    this.portal = ends.portal;
    this.#host = host;
    this.#transport = transport;
    this.#output = new Output(transport, host.plane);
    this.#receiver = new Receiver(this, LOGIN_SEGMENT_BYTES_MAX);
    const machine = new LoginMachine({
      policy: host.policy,
      offer: host.offer,
      random: host.random,
      portalGroupTag: 1,
      sessionExists: (tsih) => host.sessionExists(tsih),
      ...ends,
    });
    this.#phase = { name: 'login', machine, sinceMs: host.clock.monotonicMs() };
  }

  get plane(): DataPlane {
    return this.#host.plane;
  }

  // What the transport tells.

  /** Bytes arrived; the memory is only good for this call. */
  received(bytes: Uint8Array, view: DataView, at: number, end: number): void {
    this.#alive.heard = true;
    const alone = this.plane.received(this);
    if (this.#phase.name === 'full-feature') this.#phase.feature.open(alone);
    try {
      this.#receiver.receive(bytes, view, at, end);
    } catch (e) {
      this.#bug(e);
    }
    if (this.#phase.name === 'full-feature') this.#phase.feature.turn();
    this.plane.answered(alone);
  }

  /** A chunk that `send` kept is free. */
  sent(chunk: Chunk, lengthBytes: number): void {
    this.#output.sent(chunk, lengthBytes);
    if (this.#phase.name === 'full-feature') this.#phase.feature.turn();
  }

  /** The peer closed, or the socket failed. */
  lost(reason: string): void {
    this.#end({ kind: 'lost', reason }, 'abort');
  }

  /** Looks at deadlines. */
  sweep(nowMs: number): void {
    const phase = this.#phase;
    if (phase.name === 'login' && nowMs - phase.sinceMs >= LOGIN_DEADLINE_MS) {
      this.#host.counters.inc('login-timeouts');
      this.#turnAway('the login took too long');
    } else if (phase.name === 'full-feature') {
      const { info, startedMs } = phase.session;
      if (info.kind === 'discovery' && nowMs - startedMs >= DISCOVERY_LIFE_MS) {
        this.#turnAway('the discovery took too long');
      } else if (!info.firmware) {
        // The disk keeps us from listening: then silence proves nothing.
        if (this.#paused && !this.#output.full) this.#alive.heard = true;
        this.#keepAlive(phase.services, nowMs);
      }
    }
  }

  /** Its place is needed, with its socket, even if we have closed it and the peer lingers. */
  evict(reason: string): void {
    this.#turnAway(reason);
    this.#transport.abort();
  }

  #turnAway(reason: string): void {
    this.#host.turnedAway(this, reason);
    this.lost(reason);
  }

  #keepAlive(services: Services, nowMs: number): void {
    const need = this.#alive.sweep(nowMs);
    if (need === 'ping') services.ping();
    if (need === 'drop') {
      this.#host.counters.inc('pings-unanswered');
      this.#turnAway('the initiator does not answer');
    }
  }

  // PduSink of the login phase.

  header(_v: DataView, bytes: Uint8Array, at: number, _ahsBytes: number, dataBytes: number): void {
    this.#collector.begin(bytes, at, dataBytes);
  }

  data(bytes: Uint8Array, at: number, lengthBytes: number): void {
    this.#collector.add(bytes, at, lengthBytes);
  }

  end(): void {
    const phase = this.#phase;
    const pdu = this.#collector.take();
    if (phase.name !== 'login' || opcodeOf(pdu) !== Opcode.LOGIN_REQUEST) {
      this.#host.counters.inc('protocol-errors');
      this.lost('a PDU other than a login request before the login was over');
      return;
    }
    this.#outcome(phase.machine, phase.machine.step(decodeLoginRequest(pdu)));
  }

  fault(fault: ReceiveFault): void {
    this.#host.counters.inc('protocol-errors');
    this.lost(`login with a ${fault}`);
  }

  // Login.

  #outcome(machine: LoginMachine, outcome: LoginOutcome): void {
    switch (outcome.kind) {
      case 'reply':
        this.#sendLogin(outcome.response);
        return;
      case 'refuse':
        this.#refuse(machine, outcome.response, outcome.reason);
        return;
      case 'handover':
        this.#handOver(outcome.home, outcome.request);
        return;
      case 'admit':
        this.#admit(machine, outcome.response, outcome.grant);
    }
  }

  /** The connection goes on in another thread, as if it had come in there. */
  #handOver(home: number, request: LoginRequest): void {
    this.#phase = { name: 'closed' };
    this.#receiver.stop();
    this.#output.close();
    this.#host.closed(this);
    this.#host.handOver(this, home, framePdu(encodeLoginRequest(request), NO_DIGESTS));
  }

  #refuse(machine: LoginMachine, response: LoginResponse, reason: string): void {
    this.#sendLogin(response);
    this.#tellRefused(machine, response.status, reason);
    this.#phase = { name: 'closed' };
    this.#receiver.stop();
    this.#output.close();
    this.#transport.end();
    this.#host.closed(this);
  }

  #tellRefused(machine: LoginMachine, status: number, reason: string): void {
    this.#host.counters.inc('logins-refused');
    this.#host.observer.event({
      kind: 'login-refused',
      peer: this.peer,
      ...machine.who,
      status,
      reason,
    });
  }

  #admit(machine: LoginMachine, response: LoginResponse, grant: LoginGrant): void {
    this.#phase = { name: 'admitting' };
    const refuse = (status: LoginStatus, reason: string): void => {
      if (this.#phase.name !== 'admitting') return;
      this.#refuse(machine, { ...response, status, transit: false, nextStage: 0 }, reason);
    };
    if (grant.kind === 'discovery') {
      const refusal = this.#host.discoveryRefusalFor(this);
      if (refusal === null) return this.#open(response, grant, null);
      this.#host.turnedAway(this, refusal);
      return refuse(LoginStatus.OUT_OF_RESOURCES, refusal);
    }
    const target = this.#host.target(grant.targetName);
    if (target === undefined) {
      refuse(LoginStatus.TARGET_REMOVED, 'the target was removed');
      return;
    }
    target.admit(
      grant,
      () => {
        if (this.#phase.name === 'admitting') this.#open(response, grant, target);
      },
      () => {
        refuse(
          LoginStatus.TARGET_REMOVED,
          'a newer login, or the removal of the target, came first',
        );
      },
    );
  }

  #open(response: LoginResponse, grant: LoginGrant, target: Target | null): void {
    const { clock, observer, counters, offer } = this.#host;
    const { id, tsih } = this.#host.newSession();
    const ends = { peer: this.peer, portal: this.portal };
    const info = describeSession({ id, tsih, grant, ...ends, sinceWallMs: clock.wallMs() });
    const scsi = target?.exported.scsi ?? NO_LOGICAL_UNITS;
    const startedMs = clock.monotonicMs();
    const session = new Session({ info, grant, owner: this, startedMs });
    const feature = new FullFeature(session, scsi, this.#output, this);
    const text = textPhaseOf(this.#host, this.portal, grant);
    const services = new Services({ session, feature, target, text, owner: this, counters });
    this.other = services;
    this.#receiver.segmentBytesMax = offer.receiveSegmentBytes;
    this.#receiver.headerDigest = session.headerDigest;
    this.#receiver.dataDigest = session.dataDigest;
    this.#receiver.sink = target === null ? services : feature;
    this.#phase = { name: 'full-feature', session, feature, services, target };
    target?.sessions.add(session);
    if (target !== null) scsi.nexusAdded(session.nexus);
    counters.inc('logins');
    this.#host.opened(this, session);
    observer.event({ kind: 'login', session: info });
    this.#sendLogin({ ...response, tsih });
  }

  #sendLogin(response: LoginResponse): void {
    writeFramed(this.#output, framePdu(encodeLoginResponse(response), NO_DIGESTS));
    this.#output.flush();
  }

  // FeatureOwner and ServiceOwner.

  other: PduSink = this;

  firstRead(): void {
    this.#first('first-read');
  }

  firstWrite(): void {
    this.#first('first-write');
  }

  #first(kind: 'first-read' | 'first-write'): void {
    if (this.#phase.name !== 'full-feature') return;
    const { session } = this.#phase;
    const afterMs = this.#host.clock.monotonicMs() - session.startedMs;
    this.#host.observer.event({ kind, session: session.info, afterMs });
  }

  count(counter: ServerCounter): void {
    this.#host.counters.inc(counter);
  }

  balance(): void {
    if (this.#phase.name !== 'full-feature') return;
    if (this.#output.torn) {
      this.#end({ kind: 'lost', reason: 'the disk failed in the middle of an answer' }, 'abort');
      return;
    }
    const congested = this.#phase.feature.congested;
    if (congested === this.#paused) return;
    this.#paused = congested;
    if (congested) this.#transport.pause();
    else this.#transport.resume();
  }

  protocolError(reason: string): void {
    this.#host.counters.inc('protocol-errors');
    this.#end({ kind: 'lost', reason }, 'end');
  }

  loggedOut(): void {
    if (this.#phase.name !== 'full-feature') return;
    this.#host.counters.inc('logouts');
    this.#end({ kind: 'logout' }, 'end');
  }

  // SessionOwner.

  fence(why: FenceReason, quiet: () => void): void {
    if (this.#draining !== null) {
      this.#draining.push(quiet);
      return;
    }
    if (this.#phase.name === 'full-feature') this.#host.counters.inc('sessions-fenced');
    this.#end({ kind: 'fenced', why }, 'abort', quiet);
  }

  abortTasks(lun: number | null, quiet: () => void): boolean {
    if (this.#phase.name === 'full-feature') {
      return this.#phase.feature.abortAll((task) => lun === null || task.lun === lun, quiet);
    }
    if (this.#draining !== null) this.#draining.push(quiet);
    else quiet();
    return false;
  }

  requestLogout(): void {
    if (this.#phase.name === 'full-feature') this.#phase.services.requestLogout();
  }

  // The end.

  #end(ending: Ending, how: 'end' | 'abort', quiet?: () => void): void {
    const phase = this.#phase;
    if (phase.name === 'closed') {
      quiet?.();
      return;
    }
    this.#phase = { name: 'closed' };
    this.#receiver.stop();
    if (how === 'end') this.#output.flush();
    this.#output.close();
    if (how === 'end') this.#transport.end();
    else this.#transport.abort();
    this.#host.closed(this);
    if (phase.name === 'login') this.#tellUnfinished(phase.machine, ending);
    if (phase.name === 'full-feature') this.#drain(phase, ending, quiet);
    else quiet?.();
  }

  #tellUnfinished(machine: LoginMachine, ending: Ending): void {
    // A probe that only opens and closes a port is no login.
    if (machine.who.initiatorName === null) return;
    const reason = ending.kind === 'lost' ? ending.reason : 'the server ended it';
    this.#tellRefused(machine, 0, reason);
  }

  #drain(
    phase: Extract<Phase, { name: 'full-feature' }>,
    ending: Ending,
    quiet: (() => void) | undefined,
  ): void {
    const { session, feature, target } = phase;
    const waiting: (() => void)[] = quiet === undefined ? [] : [quiet];
    this.#draining = waiting;
    if (ending.kind === 'lost') this.#host.counters.inc('connections-lost');
    this.#host.observer.event(endEvent(session.info, ending));
    feature.close(() => {
      this.#draining = null;
      target?.sessions.delete(session);
      target?.exported.scsi.nexusRemoved(session.nexus);
      this.#host.sessionEnded(session);
      for (const each of waiting) each();
    });
  }

  /** A bug of ours must not take the other connections along. */
  #bug(e: unknown): void {
    const error = new InternalError(messageOf(e), { cause: e });
    this.#host.log.error({ error, cause: e, peer: this.peer.address }, 'connection dropped');
    this.#end({ kind: 'lost', reason: 'an internal error' }, 'abort');
  }
}
