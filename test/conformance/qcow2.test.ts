import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryDevice, checkQcow2, createQcow2, openQcow2 } from '#block/mod.ts';
import type { Qcow2CreateOptions } from '#block/mod.ts';
import { blockDeviceSuite } from './block-device.ts';
import type { Subject } from './block-device.ts';

const MIB = 1024 * 1024;
const KIB = 1024;
const SIZE_BYTES = 8 * MIB;

/** A fresh image with these options; at the end it must be sound to the last cluster. */
function image(
  options: Partial<Qcow2CreateOptions>,
  blockBytes = 512,
  backingBytes = 0,
  where = tmpdir(),
): () => Promise<Subject> {
  return async () => {
    const home = mkdtempSync(join(where, 'polyboot-qcow2-'));
    const path = join(home, 'disk.qcow2');
    const backing =
      backingBytes === 0 ? null : new MemoryDevice({ sizeBytes: backingBytes, blockBytes: 512 });
    const named = backing === null ? {} : { backing: { file: 'base.raw', format: 'raw' as const } };
    await createQcow2(path, { sizeBytes: SIZE_BYTES, ...named, ...options });
    const device = await openQcow2(path, { backing, blockBytes });
    return {
      device,
      cleanUp: async () => {
        const report = await checkQcow2(path);
        assert.deepEqual([report.errors, report.leaks, report.findings], [0, 0, []]);
        rmSync(home, { recursive: true, force: true });
      },
    };
  };
}

blockDeviceSuite('qcow2', image({}));
blockDeviceSuite('qcow2, 4096-byte blocks', image({}, 4096));
blockDeviceSuite('qcow2, subclusters', image({ extendedL2: true }));
blockDeviceSuite('qcow2, small subclusters', image({ extendedL2: true, clusterBytes: 16 * KIB }));
blockDeviceSuite('qcow2, clusters of 512 bytes', image({ clusterBytes: 512 }));
blockDeviceSuite('qcow2, clusters of 1 MiB', image({ clusterBytes: MIB }));
blockDeviceSuite('qcow2, version 2', image({ compat: '0.10' }));
blockDeviceSuite('qcow2, refcounts of 1 bit', image({ refcountBits: 1 }));
blockDeviceSuite('qcow2, refcounts of 64 bits', image({ refcountBits: 64, clusterBytes: 4 * KIB }));
blockDeviceSuite('qcow2, lazy refcounts', image({ lazyRefcounts: true }));
blockDeviceSuite('qcow2 overlay', image({}, 512, 6 * MIB));
blockDeviceSuite('qcow2 overlay, whole clusters', image({ extendedL2: false }, 512, 6 * MIB));
blockDeviceSuite('qcow2 overlay, version 2', image({ compat: '0.10' }, 512, 6 * MIB));
blockDeviceSuite('qcow2 overlay, base larger than it', image({}, 512, 20 * MIB));
blockDeviceSuite('qcow2 overlay in memory', image({}, 512, 6 * MIB, '/dev/shm'));
