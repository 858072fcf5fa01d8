import type { FastifyReply } from 'fastify';
import type { ImageProgress, ImageWork } from '#images/mod.ts';
import { messageOf } from '#base/mod.ts';
import { httpError } from './http-error.ts';
import { PROGRESS_EVERY_MS } from './limits.ts';
import type { RouteContext } from './routes/context.ts';
import type { Stream } from './stream.ts';

/**
 * Answers with the lines of long work: `{"progress":…}` at most ten times a second, then one
 * `{"result":…}` or `{"error":…}`. Work that fails before its first line is an ordinary error
 * answer with its status. The client cancels by closing the connection.
 */
export async function answerWork(
  reply: FastifyReply,
  context: RouteContext,
  work: (work: ImageWork) => Promise<unknown>,
): Promise<void> {
  const cancel = new AbortController();
  const output = new WorkOutput(reply, context);
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) cancel.abort();
  });
  try {
    const progress = (step: ImageProgress): void => {
      output.progress(step);
    };
    const result = await work({ signal: cancel.signal, progress });
    output.last({ result });
  } catch (e) {
    // Nobody is left to be told.
    if (cancel.signal.aborted) return;
    if (!output.started) throw e;
    const { body, internal } = httpError(e);
    if (internal) context.log.error({ error: e }, `image work failed: ${messageOf(e)}`);
    output.last({ error: body });
  }
}

/** The lines of one piece of work; the stream begins with the first. */
class WorkOutput {
  readonly #reply: FastifyReply;
  readonly #context: RouteContext;
  #stream: Stream | undefined;
  #phase = '';
  #sentMs = -Infinity;

  constructor(reply: FastifyReply, context: RouteContext) {
    this.#reply = reply;
    this.#context = context;
  }

  get started(): boolean {
    return this.#stream !== undefined;
  }

  /** Sends the step unless one of its phase went out just now, or the client is behind. */
  progress(step: ImageProgress): void {
    const nowMs = this.#context.clock.monotonicMs();
    const news = step.line !== undefined || step.phase !== this.#phase;
    if (!news && (nowMs - this.#sentMs < PROGRESS_EVERY_MS || this.#stream?.congested === true))
      return;
    this.#phase = step.phase;
    this.#sentMs = nowMs;
    this.#write({ progress: step });
  }

  last(line: object): void {
    this.#write(line);
    this.#stream?.end();
  }

  #write(line: object): void {
    this.#stream ??= this.#context.streams.start(this.#reply, 'application/x-ndjson');
    this.#stream.write(`${JSON.stringify(line)}\n`);
  }
}
