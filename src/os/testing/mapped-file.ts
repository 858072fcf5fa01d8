import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { FileMap } from '../file-map.ts';

/** A file with `bytes` in it, read once, in a folder of its own under `parent`; and its map. */
export function mappedFile(
  t: TestContext,
  parent: string,
  bytes: Uint8Array,
  writable = false,
): { fd: number; map: FileMap } {
  const folder = mkdtempSync(join(parent, '.pb-map-'));
  const fd = openSync(join(folder, 'f'), 'w+');
  writeSync(fd, bytes);
  readSync(fd, Buffer.alloc(bytes.length), 0, bytes.length, 0);
  const map = FileMap.open(fd, bytes.length, writable);
  assert.ok(map !== null);
  t.after(() => {
    map.close();
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  return { fd, map };
}
