import { createReadStream, writeSync } from 'node:fs';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { fstatSync } from 'node:fs';
import { errnoOf, EnvironmentError, formatBytes, messageOf, UserError } from '#base/mod.ts';
import type { Compression } from './formats.ts';
import type { ImageWork } from './image.ts';
import { runTool } from './tool.ts';

/** Memory that xz may take: its own -9 needs 65 MiB to unpack. */
const XZ_MEMORY = '256MiB';
const HOLE_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(HOLE_BYTES);

/**
 * Unpacks `path` into the empty file `fd`, leaving holes where there are zeros; resolves to the
 * length. Rejects with UserError `too-large` beyond `maxBytes` (a file of zeros packs a thousand to
 * one), `packed-wrong` for damage, EnvironmentError, or the signal's reason.
 */
export async function unpack(
  path: string,
  compression: Compression,
  fd: number,
  maxBytes: number,
  work: ImageWork,
): Promise<number> {
  if (compression === 'xz') return unpackXz(path, fd, maxBytes, work);
  const unpacker = compression === 'gz' ? createGunzip() : createZstdDecompress();
  const sink = new SparseSink(fd, maxBytes, path, work);
  const signal = work.signal === undefined ? {} : { signal: work.signal };
  const source = createReadStream(path);
  try {
    await pipeline(source, unpacker, sink, signal);
  } catch (e) {
    work.signal?.throwIfAborted();
    // zlib's own errors have codes too: Z_DATA_ERROR, ZSTD_error_….
    if (e instanceof UserError || /^E[A-Z]+$/.test(errnoOf(e) ?? '')) throw e;
    throw damaged(path, messageOf(e));
  }
  // Node's zstd takes what is no frame for the end, also where a frame has a damaged beginning.
  const end = unpacker.bytesWritten;
  if (compression === 'zst' && source.bytesRead > end) {
    throw damaged(path, `what follows byte ${end} is not packed by zstd`);
  }
  return sink.lengthBytes;
}

/** Packs the file `from` into the empty file `to`. Rejects with the signal's reason. */
export async function pack(
  from: string,
  compression: 'gz' | 'zst',
  to: number,
  work: ImageWork,
): Promise<void> {
  const packer = compression === 'gz' ? createGzip() : createZstdCompress();
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      attempt(done, () => {
        for (let at = 0; at < chunk.length;) at += writeSync(to, chunk, at);
      });
    },
  });
  const signal = work.signal === undefined ? {} : { signal: work.signal };
  try {
    await pipeline(createReadStream(from), packer, sink, signal);
  } catch (e) {
    work.signal?.throwIfAborted();
    throw e;
  }
}

/** xz has no decoder in Node: its own program, which makes holes by itself, within bounds. */
async function unpackXz(
  path: string,
  fd: number,
  maxBytes: number,
  work: ImageWork,
): Promise<number> {
  const run = {
    command: 'xz',
    args: ['--decompress', '--stdout', `--memlimit-decompress=${XZ_MEMORY}`, '--', path],
    debianPackage: 'xz-utils',
    limits: [`--fsize=${maxBytes}`],
    stdoutFd: fd,
    ...(work.signal === undefined ? {} : { signal: work.signal }),
  };
  work.progress?.({ phase: 'unpack' });
  try {
    await runTool(run);
  } catch (e) {
    if (!(e instanceof EnvironmentError) || e.code !== 'tool-failed') throw e;
    if (fstatSync(fd).size >= maxBytes) throw tooLarge(path, maxBytes);
    if (/No space left|Disk quota/.test(e.message)) throw e;
    throw damaged(path, e.explanation.why ?? e.message);
  }
  return fstatSync(fd).size;
}

/** Writes what comes, but no zeros, to the start of an empty file. */
class SparseSink extends Writable {
  lengthBytes = 0;
  readonly #fd: number;
  readonly #maxBytes: number;
  readonly #path: string;
  readonly #work: ImageWork;

  constructor(fd: number, maxBytes: number, path: string, work: ImageWork) {
    super();
    this.#fd = fd;
    this.#maxBytes = maxBytes;
    this.#path = path;
    this.#work = work;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    attempt(done, () => {
      if (this.lengthBytes + chunk.length > this.#maxBytes)
        throw tooLarge(this.#path, this.#maxBytes);
      const zero = chunk.length <= HOLE_BYTES && chunk.equals(ZEROS.subarray(0, chunk.length));
      if (!zero) {
        for (let at = 0; at < chunk.length;)
          at += writeSync(this.#fd, chunk, at, chunk.length - at, this.lengthBytes + at);
      }
      this.lengthBytes += chunk.length;
      this.#work.progress?.({ phase: 'unpack', doneBytes: this.lengthBytes });
    });
  }
}

function attempt(done: (error?: Error | null) => void, work: () => void): void {
  try {
    work();
    done();
  } catch (e) {
    // Everything that is thrown here is an Error.
    done(e as Error);
  }
}

function tooLarge(path: string, maxBytes: number): UserError {
  return new UserError('invalid', 'too-large', {
    what: `${path} unpacks to more than ${formatBytes(maxBytes)}`,
    why: 'no disk here may be larger',
  });
}

function damaged(path: string, why: string): UserError {
  return new UserError('invalid', 'packed-wrong', {
    what: `${path} cannot be unpacked`,
    why,
    todo: 'fetch it again: it is damaged, or packed otherwise than its name says',
  });
}
