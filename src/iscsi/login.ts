import { DecodeError, PolybootError } from '#base/mod.ts';
import { ChapExchange } from './chap.ts';
import { DEFAULTS, KEYS, firstCommon, negotiateKey } from './keys.ts';
import type { Negotiated } from './keys.ts';
import { COMMAND_WINDOW, LOGIN_ROUNDS_MAX, LOGIN_SEGMENT_BYTES_MAX } from './limits.ts';
import { LoginRefusal, misuse, refusalOf, unauthenticated } from './login-refusal.ts';
import type { LoginEnvironment, LoginGrant, LoginOutcome } from './login-types.ts';
import { normalizeIscsiName } from './names.ts';
import { NO_BYTES, Stage } from './pdu/mod.ts';
import type { LoginRequest, LoginResponse } from './pdu/mod.ts';
import { LoginStatus } from './policy.ts';
import type { ChapCredentials } from './policy.ts';
import { TextCollector, TextSender, encodeText } from './text.ts';
import type { KeyValue } from './text.ts';

type Identity = {
  readonly kind: 'normal' | 'discovery';
  readonly initiatorName: string;
  readonly targetName: string;
  readonly chap: ChapCredentials | null;
};

/** Ends a step whose login belongs to another thread. */
class Handover extends PolybootError {
  readonly home: number;

  constructor(home: number) {
    super('login-handover', 'another thread has the target');
    this.home = home;
  }
}

type Auth =
  | { readonly name: 'open' }
  | { readonly name: 'chap'; readonly exchange: ChapExchange }
  | { readonly name: 'satisfied'; readonly byChap: boolean };

/** Keys that may come again with the same value: libiscsi repeats its names in every request. */
const REPEATABLE: ReadonlySet<string> = new Set([
  'InitiatorName',
  'InitiatorAlias',
  'TargetName',
  'SessionType',
]);

/**
 * Login as the target plays it (RFC 7143 §6.3): one machine per connection, request in, outcome
 * out.
 *
 *   first request:  names, session type → policy → allowed, denied or sent elsewhere
 *   SECURITY:       AuthMethod → CHAP → satisfied        T is granted only when satisfied
 *   OPERATIONAL:    keys by the table of keys.ts         T is granted when our text is all sent
 *   FULL_FEATURE:   `admit`; the caller makes the session and fills in the TSIH
 *
 * Stages only move forward. Any refusal is final: the caller sends it and closes.
 */
export class LoginMachine {
  readonly #env: LoginEnvironment;
  readonly #text = new TextCollector();
  readonly #seen = new Map<string, string>();
  readonly #result: Negotiated = { ...DEFAULTS };
  #first: LoginRequest | null = null;
  #identity: Identity | null = null;
  /** Text that came before it was known who logs in. */
  #pieces: Uint8Array[] = [];
  #auth: Auth = { name: 'open' };
  #stage: number = Stage.SECURITY;
  #statSn = 0;
  #rounds = 0;
  #declared = false;
  #tagSent = false;
  #sender = new TextSender([]);

  constructor(env: LoginEnvironment) {
    this.#env = env;
  }

  /** Who is logging in, as far as it has said; for reports. */
  get who(): { initiatorName: string | null; targetName: string | null } {
    return {
      initiatorName: this.#seen.get('InitiatorName') ?? null,
      targetName: this.#seen.get('TargetName') ?? null,
    };
  }

  /** One request. After `refuse` or `admit` the machine takes no more. */
  step(request: LoginRequest): LoginOutcome {
    if (this.#first === null) {
      this.#first = request;
      this.#statSn = request.expStatSn;
      this.#stage = request.currentStage;
    }
    try {
      return this.#step(request);
    } catch (e) {
      if (e instanceof LoginRefusal) return this.#refuse(request, e);
      if (e instanceof Handover) return this.#handOver(request, e.home);
      if (e instanceof DecodeError) {
        return this.#refuse(request, new LoginRefusal(LoginStatus.INITIATOR_ERROR, e.message));
      }
      throw e;
    }
  }

  /** The refusal of a connection whose next PDU is no login request, or is malformed. */
  refuse(request: LoginRequest, status: LoginStatus, reason: string): LoginOutcome {
    return this.#refuse(request, new LoginRefusal(status, reason));
  }

  #step(request: LoginRequest): LoginOutcome {
    this.#check(request);
    if (!this.#sender.done) return this.#reply(request, []);
    if (this.#identity === null) this.#pieces.push(request.data);
    const pairs = this.#text.add(request.data, request.more);
    if (pairs === null) return this.#reply(request, []);
    const fresh = this.#note(pairs);
    this.#identity ??= this.#identify(request);
    this.#pieces = [];
    const identity = this.#identity;
    const replies: KeyValue[] = [];
    if (!this.#tagSent && identity.kind === 'normal') {
      this.#tagSent = true;
      replies.push(['TargetPortalGroupTag', String(this.#env.portalGroupTag)]);
    }
    this.#authenticate(request, identity, fresh, replies);
    this.#negotiate(request, identity, fresh, replies);
    return this.#reply(request, replies);
  }

  /** Flags, stages and identifiers (RFC 7143 §11.12). */
  #check(request: LoginRequest): void {
    const first = this.#first ?? request;
    this.#rounds += 1;
    if (this.#rounds > LOGIN_ROUNDS_MAX) throw misuse('login takes too many rounds');
    if (request.versionMin > 0) {
      throw new LoginRefusal(
        LoginStatus.UNSUPPORTED_VERSION,
        'the initiator needs a newer iSCSI version',
      );
    }
    if (request.transit && request.more) throw misuse('T and C are both set');
    if (request.currentStage !== this.#stage || request.currentStage > Stage.OPERATIONAL) {
      throw new LoginRefusal(LoginStatus.INVALID_DURING_LOGIN, 'login is in another stage');
    }
    const next = request.nextStage;
    if (request.transit && (next <= this.#stage || next === 2)) {
      throw misuse('login cannot go to that stage');
    }
    if (request.isid !== first.isid || request.tsih !== first.tsih || request.cid !== first.cid) {
      throw misuse('session identifiers changed during login');
    }
    if (request.initiatorTaskTag !== first.initiatorTaskTag) {
      throw misuse('the task tag changed during login');
    }
    if (request.tsih !== 0 && this.#rounds === 1) {
      throw this.#env.sessionExists(request.tsih)
        ? new LoginRefusal(LoginStatus.TOO_MANY_CONNECTIONS, 'a session has one connection here')
        : new LoginRefusal(
            LoginStatus.SESSION_DOES_NOT_EXIST,
            'the session to join does not exist',
          );
    }
  }

  /** Remembers keys and returns those that are new; a key declared twice is an error (§6.2). */
  #note(pairs: readonly KeyValue[]): KeyValue[] {
    const fresh: KeyValue[] = [];
    for (const [key, value] of pairs) {
      const before = this.#seen.get(key);
      if (before === undefined) {
        this.#seen.set(key, value);
        fresh.push([key, value]);
      } else if (before !== value || !REPEATABLE.has(key)) {
        throw misuse(`the key ${key} came twice`);
      }
    }
    return fresh;
  }

  #identify(request: LoginRequest): Identity {
    const type = this.#seen.get('SessionType') ?? 'Normal';
    if (type !== 'Normal' && type !== 'Discovery') {
      throw new LoginRefusal(LoginStatus.SESSION_TYPE_NOT_SUPPORTED, 'unknown session type');
    }
    const initiatorName = this.#name('InitiatorName');
    if (type === 'Discovery') {
      const chap = this.#env.policy.discoveryChap(initiatorName);
      this.#demandSecurity(request, chap);
      return { kind: 'discovery', initiatorName, targetName: '', chap };
    }
    const targetName = this.#name('TargetName');
    const { portal, peer, policy } = this.#env;
    const verdict = policy.authorize({ initiatorName, targetName, portal, peer });
    if (verdict.kind === 'handover') throw new Handover(verdict.home);
    if (verdict.kind !== 'allow') throw refusalOf(verdict);
    this.#demandSecurity(request, verdict.chap);
    return { kind: 'normal', initiatorName, targetName, chap: verdict.chap };
  }

  /**
   * Until here only pieces of one text came (C bit) and were answered with nothing: as one request,
   * with the last one's numbers, they begin the login again elsewhere.
   */
  #handOver(request: LoginRequest, home: number): LoginOutcome {
    const data = concat(this.#pieces);
    if (data.length <= LOGIN_SEGMENT_BYTES_MAX) {
      return { kind: 'handover', home, request: { ...request, data } };
    }
    const why = 'the names come with too much other text';
    return this.#refuse(request, new LoginRefusal(LoginStatus.SERVICE_UNAVAILABLE, why));
  }

  #name(key: 'InitiatorName' | 'TargetName'): string {
    const text = this.#seen.get(key);
    if (text === undefined)
      throw new LoginRefusal(LoginStatus.MISSING_PARAMETER, `${key} is missing`);
    const name = normalizeIscsiName(text);
    if (name !== undefined) return name;
    // A target that cannot exist is not found; an initiator must have a name that can be checked.
    throw key === 'TargetName'
      ? new LoginRefusal(LoginStatus.NOT_FOUND, 'the target name is no iSCSI name')
      : misuse('the initiator name is no iSCSI name');
  }

  #demandSecurity(request: LoginRequest, chap: ChapCredentials | null): void {
    if (request.currentStage === Stage.SECURITY) return;
    if (chap !== null) throw unauthenticated('the initiator skipped authentication');
    this.#auth = { name: 'satisfied', byChap: false };
  }

  #authenticate(
    request: LoginRequest,
    identity: Identity,
    fresh: readonly KeyValue[],
    replies: KeyValue[],
  ): void {
    const keys = new Map(fresh.filter(([key]) => KEYS.get(key)?.form === 'security'));
    if (request.currentStage !== Stage.SECURITY) {
      if (keys.size > 0) throw misuse('authentication keys outside the security stage');
      return;
    }
    const methods = keys.get('AuthMethod');
    keys.delete('AuthMethod');
    if (methods !== undefined) replies.push(['AuthMethod', this.#choose(methods, identity.chap)]);
    if (this.#auth.name === 'chap') {
      const step = this.#auth.exchange.step(keys);
      if (step.kind === 'failed') throw unauthenticated(step.reason);
      if (step.kind === 'done') this.#auth = { name: 'satisfied', byChap: true };
      replies.push(...step.reply);
    } else if (keys.size > 0) {
      throw misuse('CHAP keys without CHAP');
    }
    if (this.#auth.name === 'open' && request.transit) {
      if (identity.chap !== null) throw unauthenticated('the initiator offered no authentication');
      this.#auth = { name: 'satisfied', byChap: false };
    }
  }

  /** Never None where CHAP is required, whatever the initiator would like (iPXE offers both). */
  #choose(methods: string, chap: ChapCredentials | null): string {
    if (chap === null) {
      if (firstCommon(methods, ['None']) === undefined) {
        throw unauthenticated('the initiator insists on authentication and none is set up');
      }
      this.#auth = { name: 'satisfied', byChap: false };
      return 'None';
    }
    if (firstCommon(methods, ['CHAP']) === undefined) {
      throw unauthenticated('CHAP is required and the initiator does not offer it');
    }
    this.#auth = { name: 'chap', exchange: new ChapExchange(chap, this.#env.random) };
    return 'CHAP';
  }

  #negotiate(
    request: LoginRequest,
    identity: Identity,
    fresh: readonly KeyValue[],
    replies: KeyValue[],
  ): void {
    const discovery = identity.kind === 'discovery';
    for (const [key, value] of fresh) {
      const reply = negotiateKey(key, value, this.#env.offer, this.#result, discovery);
      if (reply !== null) replies.push([key, reply]);
    }
    if (request.currentStage === Stage.OPERATIONAL && !this.#declared) {
      this.#declared = true;
      replies.push(['MaxRecvDataSegmentLength', String(this.#env.offer.receiveSegmentBytes)]);
    }
  }

  #reply(request: LoginRequest, replies: readonly KeyValue[]): LoginOutcome {
    if (replies.length > 0) this.#sender = new TextSender(replies);
    const { data, more } = this.#sender.next(LOGIN_SEGMENT_BYTES_MAX);
    const satisfied = this.#auth.name === 'satisfied';
    const transit = request.transit && !more && satisfied;
    const response = this.#response(request, LoginStatus.SUCCESS, data, transit, more);
    if (!transit) return { kind: 'reply', response };
    this.#stage = request.nextStage;
    if (this.#stage !== Stage.FULL_FEATURE) return { kind: 'reply', response };
    return { kind: 'admit', response, grant: this.#grant(request) };
  }

  #grant(request: LoginRequest): LoginGrant {
    const identity = this.#identity;
    if (identity === null) throw misuse('nobody logged in');
    const n = this.#result;
    n.firstBurstBytes = Math.min(n.firstBurstBytes, n.maxBurstBytes);
    return {
      kind: identity.kind,
      initiatorName: identity.initiatorName,
      targetName: identity.targetName,
      isid: request.isid,
      cid: request.cid,
      negotiated: n,
      authenticated: this.#auth.name === 'satisfied' && this.#auth.byChap,
      firmware: this.#looksLikeIpxe(),
      cmdSn: request.cmdSn,
      statSn: this.#statSn,
    };
  }

  /**
   * iPXE's fixed offer (its iscsi.c). It never answers a NOP-In ping, and its older versions drop
   * the connection over one, so its sessions are watched by TCP keep-alive alone.
   */
  #looksLikeIpxe(): boolean {
    return (
      this.#seen.get('InitialR2T') === 'Yes' &&
      this.#seen.get('ImmediateData') === 'No' &&
      this.#seen.get('MaxRecvDataSegmentLength') === '8192' &&
      this.#seen.get('MaxBurstLength') === '262144'
    );
  }

  #refuse(request: LoginRequest, refusal: LoginRefusal): LoginOutcome {
    const data = encodeText(refusal.text);
    const response = this.#response(request, refusal.status, data, false, false);
    return { kind: 'refuse', response, reason: refusal.message };
  }

  #response(
    request: LoginRequest,
    status: number,
    data: Uint8Array,
    transit: boolean,
    more: boolean,
  ): LoginResponse {
    const statSn = this.#statSn;
    this.#statSn = (statSn + 1) >>> 0;
    return {
      transit,
      more,
      currentStage: request.currentStage,
      nextStage: transit ? request.nextStage : 0,
      versionMax: 0,
      versionActive: 0,
      isid: request.isid,
      tsih: request.tsih,
      initiatorTaskTag: request.initiatorTaskTag,
      statSn,
      expCmdSn: request.cmdSn,
      maxCmdSn: (request.cmdSn + COMMAND_WINDOW - 1) >>> 0,
      status,
      data: data.length === 0 ? NO_BYTES : data,
    };
  }
}

function concat(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
