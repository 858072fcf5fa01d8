import { createHash, timingSafeEqual } from 'node:crypto';
import type { ChapCredentials } from './policy.ts';
import { formatBinary, parseBinary, parseNumber } from './text.ts';
import type { KeyValue } from './text.ts';

/**
 * CHAP as the target plays it (RFC 7143 §12.1.3, RFC 1994): algorithm → challenge → response.
 * The challenge is random, of this exchange alone, and answered once: a recorded login proves
 * nothing (CVE-2024-45751 was a target whose challenges repeated after a restart).
 */
const ALGORITHMS: ReadonlyMap<string, { readonly hash: string; readonly bytes: number }> = new Map([
  ['5', { hash: 'md5', bytes: 16 }],
  ['6', { hash: 'sha1', bytes: 20 }],
  ['7', { hash: 'sha256', bytes: 32 }],
  ['8', { hash: 'sha3-256', bytes: 32 }],
]);

/** As LIO and tgt send: initiators exist that hash challenges beyond 255 bytes wrongly. */
const CHALLENGE_BYTES = 16;
/** RFC 7143 §12.1.3 allows binary values of 1024 bytes. */
const PEER_CHALLENGE_BYTES_MAX = 1024;

/** What one step of the exchange leads to. */
export type ChapStep =
  | { readonly kind: 'continue'; readonly reply: readonly KeyValue[] }
  | { readonly kind: 'done'; readonly reply: readonly KeyValue[] }
  | { readonly kind: 'failed'; readonly reason: string };

type State =
  | { readonly name: 'algorithm' }
  | {
      readonly name: 'response';
      readonly algorithm: { readonly hash: string; readonly bytes: number };
      readonly id: number;
      readonly challenge: Uint8Array;
    }
  | { readonly name: 'over' };

/** The digest of RFC 1994 §4.1: hash(identifier, secret, challenge). */
export function chapResponse(
  hash: string,
  id: number,
  secret: string,
  challenge: Uint8Array,
): Uint8Array {
  return createHash(hash).update(Uint8Array.of(id)).update(secret).update(challenge).digest();
}

/** Why these credentials cannot be used, or null. Secrets equal in both directions defeat CHAP. */
export function chapFault(c: ChapCredentials): string | null {
  if (c.user === '' || c.secret === '') return 'CHAP needs a user and a secret';
  if ((c.mutualUser === undefined) !== (c.mutualSecret === undefined)) {
    return 'mutual CHAP needs both a user and a secret';
  }
  if (c.mutualSecret === c.secret) return 'the mutual CHAP secret must differ from the secret';
  return null;
}

/** One exchange, for one connection. Pure but for `random`. */
export class ChapExchange {
  readonly #credentials: ChapCredentials;
  readonly #random: (bytes: number) => Uint8Array;
  #state: State = { name: 'algorithm' };

  constructor(credentials: ChapCredentials, random: (bytes: number) => Uint8Array) {
    this.#credentials = credentials;
    this.#random = random;
  }

  /** Takes the CHAP keys of one request. A failed or finished exchange takes no more. */
  step(keys: ReadonlyMap<string, string>): ChapStep {
    const state = this.#state;
    if (state.name === 'over') return fail('CHAP is over');
    if (keys.size === 0) return { kind: 'continue', reply: [] };
    if (state.name === 'algorithm') return this.#challenge(keys.get('CHAP_A'));
    this.#state = { name: 'over' };
    const reason = this.#verify(state, keys);
    if (reason !== null) return fail(reason);
    return this.#prove(state, keys);
  }

  #challenge(list: string | undefined): ChapStep {
    const chosen = list?.split(',').find((a) => ALGORITHMS.has(a));
    const algorithm = chosen === undefined ? undefined : ALGORITHMS.get(chosen);
    if (chosen === undefined || algorithm === undefined) {
      this.#state = { name: 'over' };
      return fail('the initiator offers no CHAP algorithm that we have');
    }
    const id = this.#random(1)[0]!;
    const challenge = this.#random(CHALLENGE_BYTES);
    this.#state = { name: 'response', algorithm, id, challenge };
    return {
      kind: 'continue',
      reply: [
        ['CHAP_A', chosen],
        ['CHAP_I', String(id)],
        ['CHAP_C', formatBinary(challenge)],
      ],
    };
  }

  #verify(
    state: Extract<State, { name: 'response' }>,
    keys: ReadonlyMap<string, string>,
  ): string | null {
    const { user, secret } = this.#credentials;
    const { algorithm, id, challenge } = state;
    const given = parseBinary(keys.get('CHAP_R') ?? '', PEER_CHALLENGE_BYTES_MAX);
    if (given === undefined || given.length !== algorithm.bytes) {
      return 'the CHAP response has a wrong length';
    }
    const right = timingSafeEqual(given, chapResponse(algorithm.hash, id, secret, challenge));
    // The name is compared after the work, so that time does not tell a right name from a wrong
    // one.
    const named = equalText(keys.get('CHAP_N') ?? '', user);
    if (!named) return 'the CHAP user name is wrong';
    return right ? null : 'the CHAP secret is wrong';
  }

  #prove(state: Extract<State, { name: 'response' }>, keys: ReadonlyMap<string, string>): ChapStep {
    const idText = keys.get('CHAP_I');
    const challengeText = keys.get('CHAP_C');
    if (idText === undefined && challengeText === undefined) return { kind: 'done', reply: [] };
    const id = parseNumber(idText ?? '');
    const challenge = parseBinary(challengeText ?? '', PEER_CHALLENGE_BYTES_MAX);
    if (id === undefined || id > 255 || challenge === undefined) {
      return fail('the challenge of the initiator is malformed');
    }
    // A peer without the secret would have us answer our own question.
    if (equalBytes(challenge, state.challenge)) return fail('our own challenge came back');
    const { mutualUser, mutualSecret } = this.#credentials;
    if (mutualUser === undefined || mutualSecret === undefined) {
      return fail('the initiator wants mutual CHAP and no mutual secret is set');
    }
    const proof = chapResponse(state.algorithm.hash, id, mutualSecret, challenge);
    return {
      kind: 'done',
      reply: [
        ['CHAP_N', mutualUser],
        ['CHAP_R', formatBinary(proof)],
      ],
    };
  }
}

function fail(reason: string): ChapStep {
  return { kind: 'failed', reason };
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function equalText(a: string, b: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}
