import { DecodeError, InternalError } from '#base/mod.ts';
import { LIMITS } from './limits.ts';
import { decodeHead, refusalOf } from './request.ts';
import type { RefusalCode, RequestHead } from './request.ts';

/**
 * The receiving half of one connection as a machine: bytes and times in, steps out; no socket and
 * no timer. Requests of one connection are read strictly one after the other: while one is being
 * answered, what the client pipelines stays in the buffer.
 *
 * | state     | left by                                          | deadline                      |
 * |-----------|--------------------------------------------------|-------------------------------|
 * | idle      | the first byte → head                            | idleMs after it began         |
 * | head      | the empty line → body or answering               | requestMs after its first byte|
 * | body      | Content-Length bytes → answering                 | the same                      |
 * | answering | `answered()` → idle                              | the sender's, not ours        |
 * | refused   | nothing: the connection ends                     | –                             |
 */
type State =
  | { readonly kind: 'idle'; readonly sinceMs: number }
  | { readonly kind: 'head'; readonly sinceMs: number }
  | {
      readonly kind: 'body';
      readonly sinceMs: number;
      readonly head: RequestHead;
      promised: boolean;
    }
  | { readonly kind: 'answering' }
  | { readonly kind: 'refused' };

/** What the reader wants done next. */
export type ReadStep =
  /** Wait for bytes. */
  | { readonly kind: 'more' }
  /** Send `100 Continue`, then wait for bytes. */
  | { readonly kind: 'continue' }
  | { readonly kind: 'request'; readonly head: RequestHead; readonly body: Buffer }
  /** Answer with the status of `code` and close; nothing more is read. */
  | { readonly kind: 'refuse'; readonly code: RefusalCode };

const MORE: ReadStep = { kind: 'more' };
const NOTHING = Buffer.alloc(0);
const END = Buffer.from('\r\n\r\n');
const CR = 13;
const LF = 10;

/** Reads the requests of one connection. See the table above. */
export class RequestReader {
  #state: State;
  /** Received and not yet consumed: a view of the last chunk, or our own growing copy. */
  #pending: Buffer = NOTHING;
  #own: Buffer | undefined;
  /** No end of head before this place. */
  #searched = 0;

  constructor(nowMs: number) {
    this.#state = { kind: 'idle', sinceMs: nowMs };
  }

  /** Bytes that wait for their turn: the caller stops reading its socket when they are many. */
  get pendingBytes(): number {
    return this.#pending.length;
  }

  /** True when no request is half received or being answered: closing now harms nobody. */
  get idle(): boolean {
    return this.#state.kind === 'idle';
  }

  /** True from a whole request until `answered()`. */
  get answering(): boolean {
    return this.#state.kind === 'answering';
  }

  /** Takes bytes of the socket. `chunk` is kept by reference until it is consumed. */
  feed(chunk: Buffer, nowMs: number): void {
    if (this.#state.kind === 'refused') return;
    if (this.#state.kind === 'idle') this.#state = { kind: 'head', sinceMs: nowMs };
    if (this.#pending.length === 0) this.#pending = chunk;
    else this.#append(chunk);
  }

  /** The next step. Call again after every `feed()` and after `answered()`. */
  next(): ReadStep {
    try {
      if (this.#state.kind === 'head') this.#readHead();
      if (this.#state.kind === 'body') return this.#readBody(this.#state);
      return MORE;
    } catch (e) {
      const code = e instanceof DecodeError ? refusalOf(e) : undefined;
      if (code === undefined) throw e;
      return this.#refuse(code);
    }
  }

  /** The answer is on its way: the next request may be read. */
  answered(nowMs: number): void {
    if (this.#state.kind !== 'answering') throw new InternalError('answered() without a request');
    const kind = this.#pending.length > 0 ? 'head' : 'idle';
    this.#state = { kind, sinceMs: nowMs };
  }

  /** Called now and then: `close` an idle connection, or refuse a request that takes too long. */
  expire(nowMs: number): ReadStep | { readonly kind: 'close' } {
    const state = this.#state;
    if (state.kind === 'idle' && nowMs - state.sinceMs >= LIMITS.idleMs) return { kind: 'close' };
    const reading = state.kind === 'head' || state.kind === 'body';
    if (reading && nowMs - state.sinceMs >= LIMITS.requestMs) return this.#refuse('timeout');
    return MORE;
  }

  #refuse(code: RefusalCode): ReadStep {
    this.#state = { kind: 'refused' };
    this.#pending = NOTHING;
    this.#own = undefined;
    return { kind: 'refuse', code };
  }

  #readHead(): void {
    if (this.#state.kind !== 'head') return;
    // RFC 9112 §2.2: an empty line before a request (old clients' CRLF after a body) is skipped.
    if (this.#searched === 0 && this.#pending[0] === CR && this.#pending[1] === LF) {
      this.#consume(2);
    }
    const end = this.#pending.indexOf(END, this.#searched);
    if (end < 0) {
      this.#limitHead();
      this.#searched = Math.max(0, this.#pending.length - END.length + 1);
      return;
    }
    const length = end + END.length;
    if (length > LIMITS.headBytes) this.#tooLong(this.#pending.indexOf(LF));
    const head = decodeHead(this.#pending.subarray(0, length));
    this.#consume(length);
    this.#state = { kind: 'body', sinceMs: this.#state.sinceMs, head, promised: false };
  }

  #readBody(state: Extract<State, { kind: 'body' }>): ReadStep {
    const { head } = state;
    const length = head.contentLength;
    if (this.#pending.length < length) {
      if (!head.expectContinue || state.promised || this.#pending.length > 0) return MORE;
      state.promised = true;
      return { kind: 'continue' };
    }
    // A copy: the site may keep the body, and the chunk it came in is 64 KiB.
    const body = length === 0 ? NOTHING : Buffer.from(this.#pending.subarray(0, length));
    this.#consume(length);
    this.#state = { kind: 'answering' };
    return { kind: 'request', head, body };
  }

  /** No whole head yet: what can never become one is refused at once. */
  #limitHead(): void {
    const pending = this.#pending;
    const lineEnd = pending.indexOf(LF);
    if (lineEnd < 0 ? pending.length > LIMITS.lineBytes : lineEnd > LIMITS.lineBytes) {
      this.#tooLong(lineEnd);
    }
    if (pending.length > LIMITS.headBytes) this.#tooLong(lineEnd);
    // A bare LF line, or bytes that are no request line at all (TLS, a binary protocol).
    if (lineEnd === 0 || (lineEnd > 0 && pending[lineEnd - 1] !== CR)) {
      throw new DecodeError('bad-line', 'a line that does not end with CR LF', lineEnd);
    }
  }

  #tooLong(lineEnd: number): never {
    const line = lineEnd < 0 || lineEnd > LIMITS.lineBytes;
    throw new DecodeError(line ? 'uri-too-long' : 'head-too-large', 'too many bytes', 0);
  }

  #consume(length: number): void {
    this.#pending = this.#pending.subarray(length);
    this.#searched = 0;
    if (this.#pending.length > 0) return;
    this.#pending = NOTHING;
    this.#own = undefined;
  }

  /** Grows by doubling, so that a client that sends byte by byte costs no more than its bytes. */
  #append(chunk: Buffer): void {
    const need = this.#pending.length + chunk.length;
    const own = this.#own;
    const used = own === undefined ? 0 : this.#pending.byteOffset - own.byteOffset;
    if (own !== undefined && used + need <= own.length) {
      own.set(chunk, used + this.#pending.length);
      this.#pending = own.subarray(used, used + need);
      return;
    }
    const grown = Buffer.allocUnsafeSlow(Math.max(need * 2, 1024));
    grown.set(this.#pending, 0);
    grown.set(chunk, this.#pending.length);
    this.#own = grown;
    this.#pending = grown.subarray(0, need);
  }
}
