import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { mbrBootCode, noSystemBootCode } from '#disk/mod.ts';
import { need } from '../../test/lab/need.ts';

const FOLDER = import.meta.dirname;
const PARTS = [
  { constant: 'MBR_HEX', source: 'mbr.asm', bytes: mbrBootCode, most: 440 },
  { constant: 'NO_SYSTEM_HEX', source: 'no-system.asm', bytes: noSystemBootCode, most: 420 },
];

function assemble(source: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-asm-'));
  try {
    const out = join(folder, 'code.bin');
    execFileSync('nasm', ['-f', 'bin', '-o', out, join(FOLDER, 'asm', source)]);
    return readFileSync(out).toString('hex');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function rewrite(constant: string, hex: string): void {
  const file = `${FOLDER}/boot-code.ts`;
  const lines = (hex.match(/.{1,80}/g) ?? []).map((l) => `  '${l}',\n`).join('');
  const text = readFileSync(file, 'utf8');
  const pattern = new RegExp(`const ${constant} = \\[[^\\]]*\\];`);
  writeFileSync(file, text.replace(pattern, `const ${constant} = [\n${lines}];`));
}

for (const { constant, source, bytes, most } of PARTS) {
  test(`boot code: ${source} assembles to the bytes we ship`, (t) => {
    assert.ok(bytes().length <= most);
    if (!need(t, { tools: ['nasm'] })) return;
    const hex = assemble(source);
    if (process.env['UPDATE_TESTDATA'] === '1') rewrite(constant, hex);
    else assert.equal(Buffer.from(bytes()).toString('hex'), hex);
  });
}
