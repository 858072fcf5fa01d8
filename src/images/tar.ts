import { InternalError, invariant } from '#base/mod.ts';

/** One entry of an archive: a file, a folder (no content), or a symbolic link. */
export type TarEntry = {
  /** Relative, without "./". */
  readonly path: string;
  readonly mode: number;
  readonly content?: string | Uint8Array;
  readonly linkTo?: string;
};

const BLOCK_BYTES = 512;
const MAX_PATH = 100;

/** A ustar archive (POSIX.1-1988) of the entries in order, all owned by root, times `timeMs`. */
export function tarOf(entries: readonly TarEntry[], timeMs: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (const entry of entries) {
    const content = Buffer.from(entry.content ?? '');
    blocks.push(header(entry, content.length, timeMs), content);
    blocks.push(new Uint8Array((BLOCK_BYTES - (content.length % BLOCK_BYTES)) % BLOCK_BYTES));
  }
  // Two blocks of zeros end an archive.
  blocks.push(new Uint8Array(2 * BLOCK_BYTES));
  return Buffer.concat(blocks);
}

function header(entry: TarEntry, size: number, timeMs: number): Uint8Array {
  if (entry.path.length > MAX_PATH || (entry.linkTo ?? '').length > MAX_PATH) {
    throw new InternalError(`a path too long for an archive: ${entry.path}`);
  }
  invariant(entry.linkTo === undefined || size === 0, 'a link has no content');
  const out = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, at: number, length: number): void => {
    out.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1');
  };
  out.write(entry.path, 0, 'utf8');
  octal(entry.mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(Math.floor(timeMs / 1000), 136, 12);
  out.write('        ', 148, 'latin1');
  out.write(typeFlag(entry), 156, 'latin1');
  out.write(entry.linkTo ?? '', 157, 'utf8');
  out.write('ustar\u000000', 257, 'latin1');
  out.write('root', 265, 'latin1');
  out.write('root', 297, 'latin1');
  const sum = out.reduce((a, b) => a + b, 0);
  out.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148, 'latin1');
  return out;
}

function typeFlag(entry: TarEntry): string {
  if (entry.linkTo !== undefined) return '2';
  return entry.content === undefined ? '5' : '0';
}
