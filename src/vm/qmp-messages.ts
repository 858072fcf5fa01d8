import { DecodeError } from '#base/mod.ts';

/** What QEMU says on its control socket (QMP specification, docs/interop/qmp-spec). */
export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: string }
  | { readonly kind: 'return'; readonly id: number | undefined; readonly value: unknown }
  | {
      readonly kind: 'error';
      readonly id: number | undefined;
      readonly errorClass: string;
      readonly description: string;
    }
  | { readonly kind: 'event'; readonly event: QmpEvent };

/** Something that happened to the machine, such as `SHUTDOWN` or `RESET`. */
export type QmpEvent = {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** QEMU's wall clock, milliseconds since 1970. */
  readonly atMs: number;
};

/** The longest line taken; the biggest real answer (`query-qmp-schema`) is about 200 KiB. */
export const QMP_LINE_LIMIT = 4 * 1024 * 1024;

/** Cuts the byte stream into messages: one JSON object per line. */
export class QmpDecoder {
  readonly #decoder = new TextDecoder();
  #partial = '';

  /** The messages that `bytes` completes. Throws DecodeError for anything QMP does not say. */
  feed(bytes: Uint8Array): QmpMessage[] {
    const lines = (this.#partial + this.#decoder.decode(bytes, { stream: true })).split('\n');
    this.#partial = lines.pop() ?? '';
    if (this.#partial.length > QMP_LINE_LIMIT) {
      throw new DecodeError('qmp-line', 'a line without end', QMP_LINE_LIMIT);
    }
    return lines.filter((l) => l.trim() !== '').map(decodeQmpLine);
  }
}

/** One line → one message. Throws DecodeError. */
export function decodeQmpLine(line: string): QmpMessage {
  const object = parseObject(line);
  const id = typeof object['id'] === 'number' ? object['id'] : undefined;
  if ('QMP' in object) return { kind: 'greeting', version: versionOf(object['QMP']) };
  if ('return' in object) return { kind: 'return', id, value: object['return'] };
  if ('error' in object) {
    const error = asObject(object['error']);
    return {
      kind: 'error',
      id,
      errorClass: textOf(error['class'], 'GenericError'),
      description: textOf(error['desc'], 'no description'),
    };
  }
  if (typeof object['event'] === 'string') {
    const at = asObject(object['timestamp']);
    const atMs = numberOf(at['seconds']) * 1000 + numberOf(at['microseconds']) / 1000;
    return {
      kind: 'event',
      event: { name: object['event'], data: asObject(object['data']), atMs },
    };
  }
  throw new DecodeError('qmp-message', 'a QMP message of no known kind', 0);
}

/** A command as the line QEMU reads. */
export function encodeQmpCommand(
  id: number,
  command: string,
  args: Readonly<Record<string, unknown>> = {},
): string {
  return `${JSON.stringify({ execute: command, arguments: args, id })}\n`;
}

function parseObject(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new DecodeError('qmp-json', 'a QMP line is not JSON', 0);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DecodeError('qmp-json', 'a QMP line is not an object', 0);
  }
  return value as Record<string, unknown>;
}

function versionOf(greeting: unknown): string {
  const qemu = asObject(asObject(asObject(greeting)['version'])['qemu']);
  return `${numberOf(qemu['major'])}.${numberOf(qemu['minor'])}.${numberOf(qemu['micro'])}`;
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function textOf(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise;
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}
