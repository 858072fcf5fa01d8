import { EnvironmentError } from '#base/mod.ts';

/** A line longer than this is none of ours: an event is at most a few kilobytes. */
const LINE_CHARS_MAX = 1024 * 1024;

/** Bytes in any portions → the lines of their UTF-8 text, without line ends. */
export async function* linesOf(parts: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const part of parts) {
    const lines = (rest + decoder.decode(part, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line;
    if (rest.length > LINE_CHARS_MAX) {
      throw new EnvironmentError('line-too-long', {
        what: 'the server sent a line that does not end',
      });
    }
  }
  if (rest !== '') yield rest;
}

/** Lines of server-sent events → the data of each (WHATWG HTML §9.2.6); the rest is skipped. */
export async function* sseData(lines: AsyncIterable<string>): AsyncGenerator<string> {
  let data: string[] = [];
  for await (const line of lines) {
    if (line === '') {
      if (data.length > 0) yield data.join('\n');
      data = [];
    } else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
}
