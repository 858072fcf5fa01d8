/**
 * What one `preadNowait` of resident 4 KiB costs, beside fs.readSync: `node bench/os-pread.ts`.
 * Alternating runs, medians, nanoseconds per call.
 */
import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { preadNowait } from '#os/mod.ts';

const FILE_BYTES = 1 << 20;
const CALLS = 200_000;
const RUNS = 7;

function nsPerCall(call: (position: number) => number, expected: number): number {
  const started = process.hrtime.bigint();
  for (let n = 0; n < CALLS; n++) {
    if (call((n & 127) * 4096) !== expected) throw new Error('a read fell short');
  }
  return Number(process.hrtime.bigint() - started) / CALLS;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

const path = join(process.cwd(), `.os-pread-${process.pid}`);
const fd = openSync(path, 'w+');
writeSync(fd, Buffer.alloc(FILE_BYTES, 7));
const into = Buffer.alloc(FILE_BYTES);
const variants: Record<string, () => number> = {
  'fs.readSync 4 KiB': () => nsPerCall((p) => readSync(fd, into, 64, 4096, p), 4096),
  'preadNowait 4 KiB': () => nsPerCall((p) => preadNowait(fd, into, 64, 4096, p), 4096),
  'preadNowait 0 B (the call alone)': () => nsPerCall((p) => preadNowait(fd, into, 64, 0, p), 0),
};
const results: Record<string, number[]> = {};
for (let run = 0; run < RUNS; run++) {
  for (const [name, measure] of Object.entries(variants)) (results[name] ??= []).push(measure());
}
for (const [name, values] of Object.entries(results)) {
  process.stdout.write(`${name}: ${median(values).toFixed(0)} ns\n`);
}
closeSync(fd);
rmSync(path);
