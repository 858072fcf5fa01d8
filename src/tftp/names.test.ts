import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromNetascii, toNetascii } from './netascii.ts';
import { candidatePaths } from './names.ts';

test('what clients send, and the paths it means', () => {
  const cases: [name: string, paths: string[]][] = [
    ['undionly.kpxe', ['undionly.kpxe']],
    ['/undionly.kpxe', ['undionly.kpxe']],
    ['//./undionly.kpxe', ['undionly.kpxe']],
    ['\\Boot\\x64\\wdsnbp.com', ['Boot/x64/wdsnbp.com']],
    ['ipxe.efi\u00ff', ['ipxe.efi']],
    ['ipxe.efi\u00ff\u00ff', ['ipxe.efi']],
    ['ipxe.efi  \u0001\t', ['ipxe.efi']],
    ['pxelinux.0', ['pxelinux.0', 'pxelinux']],
    ['undionly.kpxe.0', ['undionly.kpxe.0', 'undionly.kpxe']],
    ['sub/menu.12', ['sub/menu.12', 'sub/menu']],
    // The bytes of UTF-8, one character each, as the wire gives them.
    [Buffer.from('größe', 'utf8').toString('latin1'), ['größe']],
    ['gr\u00f6\u00dfe', ['größe']],
    // Left to openBeneath, which refuses them.
    ['../etc/passwd', ['../etc/passwd']],
    ['..\\..\\etc\\passwd', ['../../etc/passwd']],
    ['C:\\boot.ini', ['C:/boot.ini']],
    ['%2e%2e/x', ['%2e%2e/x']],
    ['/', []],
    ['\u00ff', []],
    ['./', []],
    ['/.0', ['.0']],
    ['a/.0', ['a/.0']],
  ];
  for (const [name, paths] of cases) assert.deepEqual(candidatePaths(name), paths, name);
});

test('netascii both ways', () => {
  const text = (s: string): Uint8Array => Buffer.from(s, 'latin1');
  const show = (b: Uint8Array): string => Buffer.from(b).toString('latin1');
  assert.equal(show(toNetascii(text('a\nb\r\nc\r'))), 'a\r\nb\r\0\r\nc\r\0');
  const plain = text('nothing to do');
  assert.equal(toNetascii(plain), plain);
  const every = Uint8Array.from({ length: 512 }, (_, n) => n & 255);
  assert.deepEqual(Buffer.from(fromNetascii(toNetascii(every))), Buffer.from(every));
});
