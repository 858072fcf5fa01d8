import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TftpFile } from '#tftp/mod.ts';
import { LoaderFolders } from './tftp-service.ts';

test('every folder of loaders is served, the first that has the file; links to elsewhere by name', async () => {
  const root = mkdtempSync(join(tmpdir(), 'pb-loaders-'));
  const folder = (name: string, files: Readonly<Record<string, string>>): string => {
    const path = join(root, name);
    mkdirSync(path);
    for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
    return path;
  };
  const boot = folder('boot', { 'ipxe.efi': 'linked', secret: 'not a loader' });
  const builds = folder('builds', { 'undionly.kpxe': 'first' });
  symlinkSync(join(boot, 'ipxe.efi'), join(builds, 'ipxe.efi'));
  const own = folder('own', { 'custom.efi': 'own', 'undionly.kpxe': 'second' });
  // A link to itself is one that cannot be looked into, for root too.
  const loop = join(root, 'loop');
  symlinkSync(loop, loop);
  const loaders = new LoaderFolders([join(root, 'missing'), loop, builds, own]);
  try {
    const read = async (name: string): Promise<string> => {
      const file: TftpFile = await loaders.open(name);
      assert.ok('content' in file);
      file.close();
      return Buffer.from(file.content).toString();
    };
    assert.equal(await read('undionly.kpxe'), 'first');
    assert.equal(await read('/ipxe.efi'), 'linked');
    assert.equal(await read('custom.efi'), 'own');
    await assert.rejects(read('secret'), { kind: 'not-found' });
  } finally {
    loaders.close();
    rmSync(root, { recursive: true });
  }
});
