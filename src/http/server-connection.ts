import type { Socket } from 'node:net';
import { UserError, printable } from '#base/mod.ts';
import type { Clock, Counters, Log } from '#base/mod.ts';
import { errorAnswer, statusOf, textAnswer } from './answer.ts';
import type { DateHeader, TextAnswer } from './answer.ts';
import { LIMITS } from './limits.ts';
import { RequestReader } from './reader.ts';
import type { ReadStep } from './reader.ts';
import { REFUSALS } from './request.ts';
import type { RequestHead } from './request.ts';
import { encodeHead, planBody } from './respond.ts';
import type { BodyFacts, ResponsePlan } from './respond.ts';
import { fileBody, sourceBody } from './server-bodies.ts';
import type { FileStore } from './server-files.ts';
import type { HttpCounter } from './server-options.ts';
import type { DirectSend } from './server-sendfile.ts';
import { Sender } from './server-sender.ts';
import type { BufferPool, SendBody } from './server-sender.ts';
import type { BootSite, BootRequest, ByteSource, HttpAnswer } from './types.ts';
import type { HttpObserver, HttpTransfer } from './types.ts';

/** What all connections of one server share. */
export type ConnectionShared = {
  readonly site: BootSite;
  readonly observer: HttpObserver | undefined;
  readonly log: Log;
  readonly clock: Clock;
  readonly files: FileStore;
  readonly pool: BufferPool;
  readonly direct: DirectSend | undefined;
  readonly counters: Counters<HttpCounter>;
  readonly date: DateHeader;
  nextTransfer(): number;
};

/** Unread bytes of a client that pipelines, at which its socket is no longer read. */
const PIPELINE_BYTES = LIMITS.headBytes;

/** One client: its socket, its reader, and the answer on its way. */
export class Connection {
  readonly socket: Socket;
  readonly remoteAddress: string;
  readonly #localAddress: string;
  readonly #localPort: number;
  readonly #shared: ConnectionShared;
  readonly #reader: RequestReader;
  #sender: Sender | undefined;
  /** Set while the site thinks; cleared by its answer or by the time limit. */
  #thinking: { readonly sinceMs: number } | undefined;
  #turn = 0;
  /** Whole requests are there, and others have their turn first. */
  #waiting = false;
  /** The answer on its way is the last of this connection. */
  #lastWord = false;
  /** The client sends no more. */
  #clientEnded = false;
  #closingMs: number | undefined;
  #lingered = 0;

  constructor(socket: Socket, shared: ConnectionShared) {
    this.socket = socket;
    this.#shared = shared;
    this.remoteAddress = plainAddress(socket.remoteAddress);
    this.#localAddress = plainAddress(socket.localAddress);
    this.#localPort = socket.localPort ?? 0;
    this.#reader = new RequestReader(shared.clock.monotonicMs());
    socket.on('data', (chunk: Buffer) => {
      this.#receive(chunk);
    });
    // A half-closed client still gets its answers; then we close too.
    socket.on('end', () => {
      this.#clientEnded = true;
      if (!this.#reader.answering && !this.#waiting) this.#close();
    });
    socket.on('error', () => {
      socket.destroy();
    });
    socket.on('close', () => {
      this.#sender?.abort('the client closed the connection');
    });
  }

  /** True when nobody would miss it: no request half sent, none being answered. */
  get idle(): boolean {
    return this.#reader.idle && this.#closingMs === undefined;
  }

  /** True while an answer is being made or sent. */
  get answering(): boolean {
    return this.#reader.answering;
  }

  /** Checks every time limit; called about once a second. */
  sweep(nowMs: number): void {
    if (this.#closingMs !== undefined) {
      if (nowMs - this.#closingMs >= LIMITS.lingerMs) this.socket.destroy();
      return;
    }
    const sender = this.#sender;
    if (sender !== undefined && nowMs - sender.progressMs >= LIMITS.stallMs) {
      sender.abort('the client took no data for a minute');
      return;
    }
    const thinking = this.#thinking;
    if (thinking !== undefined && nowMs - thinking.sinceMs >= LIMITS.resolveMs) {
      this.#thinking = undefined;
      this.#lastWord = true;
      this.#sendText(errorAnswer(503, 'the server is busy, try again'), undefined);
      return;
    }
    const step = this.#reader.expire(nowMs);
    if (step.kind === 'close') {
      this.#shared.counters.inc('idle-closed');
      this.#close();
    } else if (step.kind === 'refuse') {
      this.#shared.counters.inc('timeouts');
      this.#act(step);
    }
  }

  /** Ends after the running answer, or now when there is none. */
  finish(): void {
    this.#lastWord = true;
    if (!this.#reader.answering) this.#close();
  }

  #receive(chunk: Buffer): void {
    if (this.#closingMs !== undefined) {
      // Lingering: what still comes is thrown away, within a bound.
      this.#lingered += chunk.length;
      if (this.#lingered > LIMITS.lingerBytes) this.socket.destroy();
      return;
    }
    this.#reader.feed(chunk, this.#shared.clock.monotonicMs());
    if (!this.#reader.answering && !this.#waiting) this.#pump();
    else if (this.#reader.pendingBytes > PIPELINE_BYTES) this.socket.pause();
  }

  #pump(): void {
    const step = this.#reader.next();
    this.#act(step);
    if (step.kind === 'continue') this.#pump();
  }

  #act(step: ReadStep): void {
    switch (step.kind) {
      case 'more':
        if (this.#clientEnded) this.#close();
        else if (this.socket.isPaused()) this.socket.resume();
        return;
      case 'continue':
        this.socket.write('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');
        return;
      case 'refuse': {
        this.#shared.counters.inc('refused');
        this.#lastWord = true;
        this.#sendText(errorAnswer(REFUSALS[step.code], step.code), undefined);
        return;
      }
      case 'request':
        this.#answer(step.head, step.body);
    }
  }

  #answer(head: RequestHead, body: Buffer): void {
    this.#shared.counters.inc('requests');
    if (!head.keepAlive) this.#lastWord = true;
    const request: BootRequest = {
      method: head.method,
      path: head.target.path,
      query: head.target.query,
      headers: head.headers,
      body,
      remoteAddress: this.remoteAddress,
      localAddress: this.#localAddress,
      localPort: this.#localPort,
    };
    try {
      const answer = this.#shared.site.resolve(request);
      if (!(answer instanceof Promise)) return this.#deliver(request, answer);
      const thinking = { sinceMs: this.#shared.clock.monotonicMs() };
      this.#thinking = thinking;
      answer.then(
        (late) => {
          if (this.#thinking !== thinking || this.socket.destroyed) return dropAnswer(late);
          this.#thinking = undefined;
          this.#deliver(request, late);
        },
        (error: unknown) => {
          if (this.#thinking !== thinking) return;
          this.#thinking = undefined;
          this.#sendError(request, error);
        },
      );
    } catch (e) {
      this.#sendError(request, e);
    }
  }

  /** Never throws: a broken answer is a 500 to the client and a line in the log. */
  #deliver(request: BootRequest, answer: HttpAnswer): void {
    try {
      this.#send(request, answer);
    } catch (e) {
      this.#sendError(request, e);
    }
  }

  #send(request: BootRequest, answer: HttpAnswer): void {
    const head = request.method === 'HEAD';
    switch (answer.kind) {
      case 'text':
        return this.#sendText(
          textAnswer(answer.status, answer.contentType, answer.body, head),
          request,
        );
      case 'redirect': {
        const location = [['Location', answer.location]] as const;
        return this.#sendText(textAnswer(302, 'text/plain', '', head, location), request);
      }
      case 'not-found':
        return this.#sendText(errorAnswer(404, answer.why ?? 'not found', head), request);
      case 'forbidden':
        return this.#sendText(errorAnswer(403, answer.why ?? 'forbidden', head), request);
      case 'file':
        return this.#sendFile(request, answer);
      case 'source':
        return this.#sendSource(request, answer.source, answer.contentType);
    }
  }

  #sendFile(request: BootRequest, answer: Extract<HttpAnswer, { kind: 'file' }>): void {
    const file = this.#shared.files.open(answer.root, answer.path);
    const facts =
      answer.contentType === undefined
        ? file.facts
        : { ...file.facts, contentType: answer.contentType };
    const plan = planBody(request.method, request.headers, facts, this.#shared.clock.wallMs());
    this.#start(request, plan, facts, fileBody(file, plan), () => {
      file.release();
    });
  }

  #sendSource(request: BootRequest, source: ByteSource, contentType?: string): void {
    const facts: BodyFacts = {
      sizeBytes: source.sizeBytes,
      contentType: contentType ?? 'application/octet-stream',
      ...(source.version === undefined ? {} : { etag: quoteTag(source.version) }),
      ...(source.modifiedMs === undefined ? {} : { modifiedMs: source.modifiedMs }),
    };
    const plan = planBody(request.method, request.headers, facts, this.#shared.clock.wallMs());
    this.#start(request, plan, facts, sourceBody(source, plan), () => {
      source.close();
    });
  }

  #sendText(answer: TextAnswer, request: BootRequest | undefined): void {
    const body: SendBody = { kind: 'memory', bytes: answer.body };
    this.#start(request, answer.plan, undefined, body, () => {});
  }

  #sendError(request: BootRequest, error: unknown): void {
    const status = statusOf(error);
    if (status === 500) this.#shared.log.error({ error, path: request.path }, 'no answer');
    const why =
      error instanceof UserError ? error.explanation.what : 'the server failed, see its log';
    this.#sendText(errorAnswer(status, printable(why), request.method === 'HEAD'), request);
  }

  #start(
    request: BootRequest | undefined,
    plan: ResponsePlan,
    facts: BodyFacts | undefined,
    body: SendBody | undefined,
    over: () => void,
  ): void {
    const { clock, counters, observer, date } = this.#shared;
    counters.inc('answers');
    if (plan.status >= 400) counters.inc(plan.status >= 500 ? 'answers-5xx' : 'answers-4xx');
    const transfer =
      request === undefined || observer === undefined
        ? undefined
        : describe(this.#shared.nextTransfer(), request, plan, facts);
    const sinceMs = clock.monotonicMs();
    const sender = new Sender(
      this.socket,
      this.#shared,
      plan.lengthBytes === 0 ? undefined : body,
      (why) => {
        this.#sender = undefined;
        counters.inc('sent-bytes', sender.sentBytes);
        over();
        const durationMs = clock.monotonicMs() - sinceMs;
        if (why === undefined) {
          if (transfer !== undefined) observer?.finished(transfer, sender.sentBytes, durationMs);
          return this.#sent();
        }
        counters.inc('failed-transfers');
        if (transfer !== undefined) observer?.failed(transfer, sender.sentBytes, durationMs, why);
        this.socket.destroy();
      },
    );
    this.#sender = sender;
    if (transfer !== undefined) observer?.started(transfer);
    if (this.socket.destroyed) return sender.abort('the client closed the connection');
    sender.start(encodeHead(plan, date.at(clock.wallMs()), !this.#lastWord));
  }

  #sent(): void {
    if (this.#lastWord) return this.#close();
    this.#reader.answered(this.#shared.clock.monotonicMs());
    // One client's pipeline must not hold the event loop: others get their turn in between.
    this.#turn += 1;
    if (this.#turn < LIMITS.pipelinedPerTurn || this.#reader.pendingBytes === 0)
      return this.#pump();
    this.#turn = 0;
    this.#waiting = true;
    setImmediate(() => {
      this.#waiting = false;
      if (!this.socket.destroyed && this.#closingMs === undefined) this.#pump();
    });
  }

  /** Says goodbye and reads on for a moment, so that our last words are not lost to a reset. */
  #close(): void {
    if (this.#closingMs !== undefined) return;
    this.#closingMs = this.#shared.clock.monotonicMs();
    this.socket.end();
    this.socket.resume();
  }
}

function dropAnswer(answer: HttpAnswer): void {
  if (answer.kind === 'source') answer.source.close();
}

function describe(
  id: number,
  request: BootRequest,
  plan: ResponsePlan,
  facts: BodyFacts | undefined,
): HttpTransfer {
  return {
    id,
    method: request.method,
    path: printable(request.path),
    query: request.query,
    remoteAddress: request.remoteAddress,
    localAddress: request.localAddress,
    userAgent: printable(request.headers.get('user-agent') ?? ''),
    status: plan.status,
    lengthBytes: plan.lengthBytes,
    ...(plan.status === 206
      ? { range: { startBytes: plan.startBytes, sizeBytes: facts?.sizeBytes ?? 0 } }
      : {}),
  };
}

/** `::ffff:10.0.0.1` of a dual-stack socket is 10.0.0.1 to everybody else. */
function plainAddress(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:(?=\d+\.)/i, '');
}

function quoteTag(version: string): string {
  return `"${version.replaceAll(/[^\x21\x23-\x7e]/g, '_')}"`;
}
