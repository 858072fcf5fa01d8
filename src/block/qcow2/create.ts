import { fdatasync, write } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { promisify } from 'node:util';
import { EnvironmentError, UserError, errnoOf, messageOf } from '#base/mod.ts';
import {
  Compatible,
  ExtensionType,
  HEADER_BYTES_V2,
  HEADER_BYTES_V3,
  Incompatible,
  MAGIC,
} from './header.ts';
import { JOURNAL_EXTENSION_BYTES } from './journal-codec.ts';
import {
  BACKING_NAME_BYTES_MAX,
  CLUSTER_BITS_MAX,
  CLUSTER_BITS_MIN,
  EXTENDED_CLUSTER_BITS_MIN,
  L1_BYTES_MAX,
} from './limits.ts';
import { setRefcount } from './refcount-codec.ts';
import type { Qcow2CreateOptions } from './types.ts';

const KIB = 1024;
const writeFd = promisify(write);
const syncFd = promisify(fdatasync);

type Plan = {
  readonly options: Qcow2CreateOptions;
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  readonly extended: boolean;
  readonly refcountOrder: number;
  readonly l1Entries: number;
  /** Clusters in file order: header, refcount table, refcount blocks, L1 table. */
  readonly tableClusters: number;
  readonly blocks: number;
  readonly l1Clusters: number;
};

/**
 * Makes an empty qcow2 image: the file `target`, which must not exist, or an empty open file. On
 * stable media when it resolves, but for the name in its folder, which the caller makes durable.
 * Nothing is opened that `backing` names.
 * Throws UserError (an option that cannot be, the file exists) or EnvironmentError.
 */
export async function createQcow2(
  target: string | number,
  options: Qcow2CreateOptions,
): Promise<void> {
  const plan = planOf(options);
  const header = encodeNewHeader(plan);
  if (typeof target === 'number') {
    await guarded('the new image', () => fill(target, plan, header));
    return;
  }
  const file = await guarded(target, () => open(target, 'wx'));
  try {
    await guarded(target, () => fill(file.fd, plan, header));
  } catch (e) {
    await unlink(target);
    throw e;
  } finally {
    await file.close();
  }
}

function planOf(options: Qcow2CreateOptions): Plan {
  const version = options.compat === '0.10' ? 2 : 3;
  const extended = options.extendedL2 ?? (options.backing !== undefined && version === 3);
  const clusterBytes = options.clusterBytes ?? (extended ? 128 : 64) * KIB;
  const clusterBits = Math.log2(clusterBytes);
  const refcountBits = options.refcountBits ?? 16;
  const refcountOrder = Math.log2(refcountBits);
  const least = extended ? EXTENDED_CLUSTER_BITS_MIN : CLUSTER_BITS_MIN;
  if (!Number.isInteger(clusterBits) || clusterBits < least || clusterBits > CLUSTER_BITS_MAX) {
    const sizes = `a power of two, ${2 ** least} bytes to 2 MiB`;
    throw wrong(`clusters cannot have ${clusterBytes} bytes`, `they are ${sizes}`);
  }
  if (!Number.isInteger(refcountOrder) || refcountOrder < 0 || refcountOrder > 6) {
    throw wrong(`refcounts cannot have ${refcountBits} bits`, 'they have 1, 2, 4, 8, 16, 32 or 64');
  }
  if (version === 2 && (extended || refcountOrder !== 4 || options.lazyRefcounts === true)) {
    throw wrong(
      'a version 2 image (compat 0.10) cannot have that',
      'subclusters, other refcounts than 16 bits and lazy refcounts came with version 3',
    );
  }
  const { sizeBytes } = options;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0) {
    throw wrong(`a disk cannot have ${sizeBytes} bytes`, 'its size is a multiple of 512');
  }
  const l1Entries = Math.ceil(sizeBytes / ((clusterBytes / (extended ? 16 : 8)) * clusterBytes));
  if (l1Entries * 8 > L1_BYTES_MAX) {
    throw wrong(`a disk of ${sizeBytes} bytes does not fit`, 'larger clusters hold more');
  }
  const l1Clusters = Math.ceil((l1Entries * 8) / clusterBytes);
  const perBlock = (clusterBytes * 8) / refcountBits;
  let blocks = 1;
  let tableClusters = 1;
  // Each block counts itself, the table and the others: settles after a few rounds.
  for (let rounds = 0; rounds < 8; rounds++) {
    blocks = Math.ceil((1 + tableClusters + blocks + l1Clusters) / perBlock);
    tableClusters = Math.ceil((blocks * 8) / clusterBytes);
  }
  return {
    options,
    version,
    clusterBits,
    clusterBytes,
    extended,
    refcountOrder,
    l1Entries,
    tableClusters,
    blocks,
    l1Clusters,
  };
}

function encodeNewHeader(plan: Plan): Uint8Array {
  const { options, clusterBytes } = plan;
  const area = Buffer.alloc(Math.min(clusterBytes, 4 * KIB));
  const view = new DataView(area.buffer, area.byteOffset);
  const l1Offset = (1 + plan.tableClusters + plan.blocks) * clusterBytes;
  view.setUint32(0, MAGIC);
  view.setUint32(4, plan.version);
  view.setUint32(20, plan.clusterBits);
  view.setBigUint64(24, BigInt(options.sizeBytes));
  view.setUint32(36, plan.l1Entries);
  view.setBigUint64(40, BigInt(l1Offset));
  view.setBigUint64(48, BigInt(clusterBytes));
  view.setUint32(56, plan.tableClusters);
  let at = HEADER_BYTES_V2;
  if (plan.version === 3) {
    view.setBigUint64(72, plan.extended ? BigInt(Incompatible.EXTENDED_L2) : 0n);
    view.setBigUint64(80, options.lazyRefcounts === true ? BigInt(Compatible.LAZY_REFCOUNTS) : 0n);
    view.setUint32(96, plan.refcountOrder);
    view.setUint32(100, HEADER_BYTES_V3);
    at = HEADER_BYTES_V3;
    // Room for the journal's place within the first sector, so that it is set by one sector.
    view.setUint32(at, ExtensionType.JOURNAL);
    view.setUint32(at + 4, JOURNAL_EXTENSION_BYTES);
    at += 8 + JOURNAL_EXTENSION_BYTES;
  }
  if (options.backing !== undefined) {
    const format = Buffer.from(options.backing.format, 'latin1');
    view.setUint32(at, ExtensionType.BACKING_FORMAT);
    view.setUint32(at + 4, format.length);
    area.set(format, at + 8);
    at += 16 + 8; // an extension of up to eight bytes, and the end of extensions
    const name = Buffer.from(options.backing.file, 'utf8');
    const room = Math.min(BACKING_NAME_BYTES_MAX, area.length - at);
    if (name.length === 0 || name.length > room || name.includes(0)) {
      throw wrong(
        `the name of the backing file cannot have ${name.length} bytes`,
        `1 to ${room} fit into the header`,
      );
    }
    view.setUint32(12, at);
    view.setUint32(16, name.length);
    area.set(name, at);
  }
  return area;
}

async function fill(fd: number, plan: Plan, header: Uint8Array): Promise<void> {
  const { clusterBytes } = plan;
  const used = 1 + plan.tableClusters + plan.blocks + plan.l1Clusters;
  const table = Buffer.alloc(plan.tableClusters * clusterBytes);
  const counts = Buffer.alloc(plan.blocks * clusterBytes);
  for (let n = 0; n < plan.blocks; n++) {
    table.writeBigUInt64BE(BigInt((1 + plan.tableClusters + n) * clusterBytes), n * 8);
  }
  for (let n = 0; n < used; n++) setRefcount(counts, n, plan.refcountOrder, 1);
  await writeAll(fd, header, 0);
  await writeAll(fd, table, clusterBytes);
  await writeAll(fd, counts, (1 + plan.tableClusters) * clusterBytes);
  // Written and not left a hole: a later change of an L1 entry then needs no space.
  const l1 = Buffer.alloc(plan.l1Clusters * clusterBytes);
  await writeAll(fd, l1, (1 + plan.tableClusters + plan.blocks) * clusterBytes);
  await syncFd(fd);
}

async function writeAll(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await writeFd(fd, bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

async function guarded<T>(path: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (cause) {
    const what = `the image "${path}" cannot be made`;
    const code = errnoOf(cause) ?? 'unknown';
    if (code === 'EEXIST') {
      const why = 'there is a file of this name';
      throw new UserError('conflict', 'image-exists', { what, why }, { cause });
    }
    throw new EnvironmentError(code, { what, why: messageOf(cause) }, { cause });
  }
}

function wrong(what: string, why: string): UserError {
  return new UserError('invalid', 'qcow2-options', { what, why });
}
