import { readBytes } from './file-io.ts';
import { Autoclear, ExtensionType, extensionOf } from './header.ts';
import type { Header } from './header.ts';
import type { ImageFile } from './image-file.ts';
import type { Layout } from './layout.ts';

/** QEMU's limits: bitmaps of an image, their directory, and the table of one of them. */
const BITMAPS_MAX = 65_535;
const DIRECTORY_BYTES_MAX = 16 * 1024 * 1024;
const TABLE_BYTES_MAX = 8 * 1024 * 1024;
const ENTRY_BYTES = 24;

/**
 * What QEMU's persistent bitmaps use, so that a check does not call it leaked. Nothing when their
 * autoclear bit is off: then a writer did not keep them, and their clusters are leaks indeed.
 * Rejects with BlockError; what makes no sense is told to `onFault`.
 */
export async function bitmapRanges(
  file: ImageFile,
  header: Header,
  layout: Layout,
  onFault: (text: string) => void,
): Promise<{ offset: number; lengthBytes: number }[]> {
  const data = extensionOf(header, ExtensionType.BITMAPS)?.data;
  if (data === undefined || (header.autoclear & BigInt(Autoclear.BITMAPS)) === 0n) return [];
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  if (data.length !== ENTRY_BYTES) {
    onFault('the bitmaps extension has the wrong length');
    return [];
  }
  const count = view.getUint32(0);
  const lengthBytes = Number(view.getBigUint64(8));
  const offset = Number(view.getBigUint64(16));
  const end = offset + lengthBytes;
  if (count > BITMAPS_MAX || lengthBytes > DIRECTORY_BYTES_MAX || end > file.sizeBytes) {
    onFault('the bitmap directory is too large or past the end of the file');
    return [];
  }
  const ranges = [{ offset, lengthBytes }];
  const directory = await readBytes(file, offset, lengthBytes);
  const entries = new DataView(directory.buffer);
  let at = 0;
  for (let n = 0; n < count; n++) {
    if (at + ENTRY_BYTES > lengthBytes) {
      onFault('the bitmap directory is cut short');
      return ranges;
    }
    const table = Number(entries.getBigUint64(at));
    const tableBytes = entries.getUint32(at + 8) * 8;
    const names = entries.getUint16(at + 18) + entries.getUint32(at + 20);
    if (tableBytes > TABLE_BYTES_MAX || table + tableBytes > file.sizeBytes) {
      onFault('a bitmap table is too large or past the end of the file');
      return ranges;
    }
    ranges.push({ offset: table, lengthBytes: tableBytes });
    const bytes = new DataView((await readBytes(file, table, tableBytes)).buffer);
    for (let e = 0; e < tableBytes; e += 8) {
      const cluster = Number(bytes.getBigUint64(e) & 0x00ff_ffff_ffff_fe00n);
      if (cluster !== 0) ranges.push({ offset: cluster, lengthBytes: layout.clusterBytes });
    }
    at += Math.ceil((ENTRY_BYTES + names) / 8) * 8;
  }
  return ranges;
}
