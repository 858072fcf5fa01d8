import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { once } from 'node:events';
import { z } from 'zod';
import { EnvironmentError, errnoOf, InternalError, messageOf, UserError } from '#base/mod.ts';
import type { ApiError } from './schema/error.ts';
import { errorSchema } from './schema/error.ts';
import {
  actionResultSchema,
  historySchema,
  imageViewSchema,
  inspectionSchema,
  overlayResultSchema,
  overlaySchema,
  progressSchema,
  usageSchema,
  type ActionResult,
  type HistoryView,
  type ImageActionInput,
  type ImageRequestInput,
  type ImageView,
  type InspectionView,
  type OverlayRequestInput,
  type OverlayResult,
  type OverlayView,
  type Progress,
  type UsageView,
} from './schema/image.ts';
import { applyResultSchema, labSchema, type ApplyResult, type Lab } from './schema/lab.ts';
import {
  machineViewSchema,
  type BootOnce,
  type MachineChange,
  type MachineView,
  type NewMachine,
} from './schema/machine.ts';
import { leaseSchema, statusSchema, type Lease, type Status } from './schema/status.ts';
import { timelineEventSchema, type TimelineEvent } from './schema/timeline.ts';
import { linesOf, sseData } from './text-stream.ts';

/** An answer longer than this is none of ours. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** Every error of the API arrives as one of these; `problems` of a lab file come along. */
export class RemoteError extends UserError {
  readonly problems: NonNullable<ApiError['problems']>;

  constructor(status: number, { code, problems = [], ...explanation }: ApiError) {
    super(KIND_OF_STATUS[status] ?? 'unsupported', code, explanation);
    this.problems = problems;
  }
}

const KIND_OF_STATUS: Readonly<Partial<Record<number, UserError['kind']>>> = {
  400: 'invalid',
  401: 'forbidden',
  403: 'forbidden',
  404: 'not-found',
  409: 'conflict',
};

const eventsSchema = z.strictObject({ events: z.array(timelineEventSchema), lastId: z.int() });
const workLineSchema = z.union([
  z.strictObject({ progress: progressSchema }),
  z.strictObject({ result: z.unknown() }),
  z.strictObject({ error: errorSchema }),
]);

/**
 * The admin API over its Unix socket, typed by the schemas of the server. Every method rejects with
 * RemoteError (what the server said) or EnvironmentError `server-not-running`, `server-no-access`,
 * `server-gone`.
 */
export class AdminClient {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  status(): Promise<Status> {
    return this.#json('GET', '/v1/status', statusSchema);
  }

  leases(): Promise<Lease[]> {
    return this.#json('GET', '/v1/leases', z.array(leaseSchema));
  }

  machines(): Promise<MachineView[]> {
    return this.#json('GET', '/v1/machines', z.array(machineViewSchema));
  }

  machine(name: string): Promise<MachineView> {
    return this.#json('GET', `/v1/machines/${encodeURIComponent(name)}`, machineViewSchema);
  }

  addMachine(machine: NewMachine): Promise<MachineView> {
    return this.#json('POST', '/v1/machines', machineViewSchema, machine);
  }

  setMachine(name: string, change: MachineChange): Promise<MachineView> {
    const path = `/v1/machines/${encodeURIComponent(name)}`;
    return this.#json('PATCH', path, machineViewSchema, change);
  }

  removeMachine(name: string): Promise<null> {
    return this.#json('DELETE', `/v1/machines/${encodeURIComponent(name)}`, z.null());
  }

  /** What the next boot gets, once; null takes it back. */
  bootMachine(name: string, once: BootOnce | null): Promise<MachineView> {
    const path = `/v1/machines/${encodeURIComponent(name)}/boot`;
    return this.#json('PUT', path, machineViewSchema, { once });
  }

  images(): Promise<ImageView[]> {
    return this.#json('GET', '/v1/images', z.array(imageViewSchema));
  }

  image(name: string): Promise<ImageView> {
    return this.#json('GET', `/v1/images/${encodeURIComponent(name)}`, imageViewSchema);
  }

  inspectImage(name: string): Promise<InspectionView> {
    const path = `/v1/images/${encodeURIComponent(name)}/inspection`;
    return this.#json('GET', path, inspectionSchema);
  }

  removeImage(name: string): Promise<null> {
    return this.#json('DELETE', `/v1/images/${encodeURIComponent(name)}`, z.null());
  }

  /** Makes an image; `onProgress` hears of its steps, an aborted signal cancels it. */
  makeImage(
    request: ImageRequestInput,
    onProgress: (step: Progress) => void,
    signal?: AbortSignal,
  ): Promise<ImageView> {
    return this.#work('/v1/images', request, imageViewSchema, onProgress, signal);
  }

  /** Changes, checks or exports an image; as `makeImage`. */
  actOnImage(
    name: string,
    action: ImageActionInput,
    onProgress: (step: Progress) => void,
    signal?: AbortSignal,
  ): Promise<ActionResult> {
    const path = `/v1/images/${encodeURIComponent(name)}/actions`;
    return this.#work(path, action, actionResultSchema, onProgress, signal);
  }

  imageHistory(name: string): Promise<HistoryView> {
    return this.#json('GET', `/v1/images/${encodeURIComponent(name)}/history`, historySchema);
  }

  imageUsage(name: string): Promise<UsageView> {
    return this.#json('GET', `/v1/images/${encodeURIComponent(name)}/usage`, usageSchema);
  }

  forgetPoint(name: string, number: number): Promise<null> {
    return this.#json(
      'DELETE',
      `/v1/images/${encodeURIComponent(name)}/points/${number}`,
      z.null(),
    );
  }

  /** The overlays of all machines. */
  overlays(): Promise<OverlayView[]> {
    return this.#json('GET', '/v1/overlays', z.array(overlaySchema));
  }

  /** Keeps, discards or promotes what a machine wrote. */
  actOnOverlays(request: OverlayRequestInput): Promise<OverlayResult> {
    return this.#json('POST', '/v1/overlays', overlayResultSchema, request);
  }

  /** The state as a lab file. */
  state(secrets: boolean): Promise<Lab> {
    return this.#json('GET', `/v1/state?secrets=${String(secrets)}`, labSchema);
  }

  apply(lab: unknown, dryRun: boolean): Promise<ApplyResult> {
    return this.#json('POST', '/v1/apply', applyResultSchema, { lab, dryRun });
  }

  /** Events after number `after`, and the number of the newest of all. */
  events(after: number, limit: number): Promise<{ events: TimelineEvent[]; lastId: number }> {
    return this.#json('GET', `/v1/events?after=${after}&limit=${limit}`, eventsSchema);
  }

  /** Events after number `after` as they happen, until the signal aborts or the server goes. */
  async *follow(after: number, signal: AbortSignal): AsyncGenerator<TimelineEvent> {
    const path = `/v1/events/stream?after=${after}`;
    const response = await this.#open('GET', path, { signal });
    try {
      for await (const data of sseData(linesOf(this.#bytes(response))))
        yield timelineEventSchema.parse(JSON.parse(data));
    } catch (e) {
      if (signal.aborted) return;
      throw e;
    }
    if (!signal.aborted) throw this.#gone('it ended the stream');
  }

  async #work<S extends z.ZodType>(
    path: string,
    body: unknown,
    schema: S,
    onProgress: (step: Progress) => void,
    signal: AbortSignal | undefined,
  ): Promise<z.output<S>> {
    const response = await this.#open('POST', path, { body, signal });
    for await (const text of linesOf(this.#bytes(response))) {
      const line = workLineSchema.parse(JSON.parse(text));
      if ('result' in line) return schema.parse(line.result);
      if ('error' in line) throw new RemoteError(response.statusCode ?? 500, line.error);
      onProgress(line.progress);
    }
    throw this.#gone('it ended before the work did');
  }

  async #json<S extends z.ZodType>(
    method: string,
    path: string,
    schema: S,
    body?: unknown,
  ): Promise<z.output<S>> {
    const response = await this.#open(method, path, { body });
    const text = await this.#text(response);
    const result = schema.safeParse(text === '' ? null : parseJson(text));
    if (result.success) return result.data;
    throw new InternalError(`the server's answer to ${method} ${path}: ${result.error.message}`);
  }

  /** The response once its headers are there; an error status is thrown. */
  async #open(
    method: string,
    path: string,
    { body, signal }: { body?: unknown; signal?: AbortSignal | undefined },
  ): Promise<IncomingMessage> {
    const json = body === undefined ? undefined : JSON.stringify(body);
    const options: RequestOptions = {
      socketPath: this.#socketPath,
      method,
      path,
      agent: false,
      headers: {
        host: 'localhost',
        ...(json === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) }),
      },
      ...(signal === undefined ? {} : { signal }),
    };
    const request = httpRequest(options);
    request.end(json);
    let response: IncomingMessage;
    try {
      [response] = (await once(request, 'response')) as [IncomingMessage];
    } catch (e) {
      throw signal?.aborted === true ? e : this.#unreachable(e);
    }
    // A late error of the request is the response's to report.
    request.on('error', () => undefined);
    const status = response.statusCode ?? 500;
    if (status < 400) return response;
    throw new RemoteError(status, errorOf(status, await this.#text(response)));
  }

  async #text(response: IncomingMessage): Promise<string> {
    const parts: Buffer[] = [];
    let lengthBytes = 0;
    for await (const part of this.#bytes(response)) {
      lengthBytes += part.length;
      if (lengthBytes > ANSWER_BYTES_MAX) throw this.#gone('its answer is too long');
      parts.push(part);
    }
    return Buffer.concat(parts).toString();
  }

  async *#bytes(response: IncomingMessage): AsyncGenerator<Buffer> {
    try {
      for await (const part of response) yield part as Buffer;
    } catch (e) {
      throw errnoOf(e) === 'ABORT_ERR' ? e : this.#gone(messageOf(e), e);
    }
  }

  #unreachable(e: unknown): EnvironmentError {
    const socket = this.#socketPath;
    if (errnoOf(e) === 'EACCES') {
      return new EnvironmentError(
        'server-no-access',
        {
          what: `no right to use the admin socket ${socket}`,
          todo: 'run this command as the user that runs `polyboot up` (usually: sudo polyboot …)',
        },
        { cause: e },
      );
    }
    const code = errnoOf(e) ?? '';
    if (!['ENOENT', 'ECONNREFUSED', 'ENOTDIR'].includes(code)) return this.#gone(messageOf(e), e);
    return new EnvironmentError(
      'server-not-running',
      {
        what: 'the polyboot server is not running',
        why: `nobody listens on ${socket}`,
        todo: 'start it with `polyboot up`, or name its socket with --socket',
      },
      { cause: e },
    );
  }

  #gone(why: string, cause?: unknown): EnvironmentError {
    const explanation = {
      what: 'the polyboot server went away',
      why,
      todo: 'see whether `polyboot up` still runs, and what it said last',
    };
    return new EnvironmentError('server-gone', explanation, { cause });
  }
}

function errorOf(status: number, text: string): ApiError {
  const result = errorSchema.safeParse(parseJson(text));
  if (result.success) return result.data;
  return { code: `http-${status}`, what: `the server answered with HTTP status ${status}` };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
