import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { SITUATIONS } from './error-tables.ts';
import { decodeIpxeError } from './errors.ts';
import { LOADERS } from './loader-table.ts';
import { findLoaders, loadersFor } from './loaders.ts';

suite('error numbers', () => {
  test('those provoked with the real builds', () => {
    const known = [
      ['1d852039', 'EIO', 'int13', 'bios', /55AA/],
      ['0f0a6039', 'ECONNRESET', 'tcp', 'bios', /nothing listens/],
      ['0f0a6095', 'ECONNRESET', 'tcp', 'uefi', /nothing listens/],
      ['4c0a6035', 'ETIMEDOUT', 'tcp', 'bios', /nobody answered/],
      ['4c0a6092', 'ETIMEDOUT', 'tcp', 'uefi', /nobody answered/],
      ['2d0c613b', 'ENOENT', 'http', 'bios', /HTTP 404/],
      ['2d0c618e', 'ENOENT', 'http', 'uefi', /HTTP 404/],
      ['2e022001', 'ENOEXEC', 'exec', 'bios', /does not know a command/],
      ['2e022081', 'ENOEXEC', 'exec', 'uefi', /does not know a command/],
    ] as const;
    for (const [code, name, source, firmware, meaning] of known) {
      const error = decodeIpxeError(code);
      assert.deepEqual([error?.name, error?.source, error?.firmware], [name, source, firmware]);
      assert.match(error?.meaning ?? '', meaning);
      assert.ok((error?.todo ?? '').length > 0);
    }
  });

  test('found in a line of a screen, and only there', () => {
    const line = 'Could not open SAN device: Connection reset (http://ipxe.org/0F0A6039)';
    assert.equal(decodeIpxeError(line)?.code, '0f0a6039');
    assert.equal(decodeIpxeError('0x2d02203b')?.name, 'ENOENT');
    for (const none of [
      '',
      'http://ipxe.org/cmd/show',
      'deadbeef',
      '1d85203',
      '1d8520399',
      '00000000',
    ]) {
      assert.equal(decodeIpxeError(none), undefined, none);
    }
  });

  test('an error of which nothing more is known is still named', () => {
    const error = decodeIpxeError('31fff006');
    assert.deepEqual(
      [error?.name, error?.source, error?.meaning],
      ['ENOMEM', undefined, undefined],
    );
  });

  test('no explanation hides another', () => {
    for (const [n, s] of SITUATIONS.entries()) {
      const first = SITUATIONS.findIndex(
        (o) =>
          o.name === s.name &&
          o.source === s.source &&
          (o.cause === undefined || o.cause === s.cause),
      );
      assert.equal(first, n, `${s.name} ${s.source} ${s.cause ?? ''} is never reached`);
    }
  });
});

suite('loaders', () => {
  test('for each architecture the right file, its alternative second', () => {
    const found = LOADERS.map((fact) => ({
      fact,
      folder: '/',
      root: '/',
      path: fact.file,
      sizeBytes: 1,
    }));
    const files = (arch: number): string[] => loadersFor(arch, found).map((l) => l.path);
    assert.deepEqual(files(0), ['undionly.kpxe', 'ipxe.pxe']);
    for (const arch of [7, 8, 9, 16]) assert.deepEqual(files(arch), ['snponly.efi', 'ipxe.efi']);
    assert.deepEqual(files(11), ['snponly-arm64.efi', 'ipxe-arm64.efi']);
    assert.deepEqual(files(19), files(11));
    assert.deepEqual(files(6), files(15));
    assert.deepEqual(files(2), []);
  });

  test('present, linked out of the folder, empty, a folder, missing', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'polyboot-loaders-'));
    t.after(() => rm(folder, { recursive: true }));
    await mkdir(join(folder, 'boot'));
    await mkdir(join(folder, 'ipxe'));
    await writeFile(join(folder, 'ipxe', 'undionly.kpxe'), 'x');
    await writeFile(join(folder, 'boot', 'real.efi'), 'xy');
    await symlink('../boot/real.efi', join(folder, 'ipxe', 'ipxe.efi'));
    await writeFile(join(folder, 'ipxe', 'ipxe.pxe'), '');
    await mkdir(join(folder, 'ipxe', 'snponly.efi'));
    const report = findLoaders(['/nowhere', join(folder, 'ipxe')]);
    assert.deepEqual(
      report.found.map((l) => [l.fact.file, l.path, l.sizeBytes]),
      [
        ['undionly.kpxe', 'undionly.kpxe', 1],
        ['ipxe.efi', 'real.efi', 2],
      ],
    );
    assert.match(report.found[1]?.root ?? '', /\/boot$/);
    assert.match(report.problem?.what ?? '', /snponly\.efi \(64-bit UEFI/);
    assert.match(report.problem?.todo ?? '', /apt-get install ipxe/);
  });
});
