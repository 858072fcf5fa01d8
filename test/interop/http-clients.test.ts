import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { HttpServer, type BootRequest } from '#http/mod.ts';
import { need } from '../lab/need.ts';
import { run } from '../lab/process.ts';
import { GUEST_LIMIT_MS } from '../lab/vm.ts';
import { Bench } from './http-kit.ts';
import { MAC_PATH, IpxeLab } from './ipxe-lab.ts';

const CURL = { tools: ['curl'] } as const;

suite('boot listener and real clients', () => {
  test('curl: whole, HEAD, resume, ranges, conditional, many at once', async (t) => {
    if (!need(t, CURL)) return;
    const bench = await Bench.start(t);
    const content = randomBytes(5_000_000);
    await bench.file('initrd.img', content);
    const url = `http://127.0.0.1:${bench.port}/initrd.img`;
    const out = join(bench.folder, 'out');
    const curl = (...args: string[]): Promise<string> => run('curl', ['-sS', '--fail', ...args]);

    await curl('-o', out, url);
    assert.ok((await readFile(out)).equals(content));
    const head = await curl('-I', url);
    assert.match(head, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(head, /Content-Length: 5000000\r\n/);
    const etag = /ETag: (\S+)/.exec(head)?.[1] ?? '';

    await writeFile(out, content.subarray(0, 1_234_567));
    await curl('-C', '-', '-o', out, url);
    assert.ok((await readFile(out)).equals(content), 'resumed');
    await curl('-r', '-1000', '-o', out, url);
    assert.ok((await readFile(out)).equals(content.subarray(-1000)));
    // Two ranges: curl gets the whole file, not a multipart.
    await curl('-r', '0-1,5-6', '-o', out, url);
    assert.equal((await stat(out)).size, content.length);
    const code = await curl(
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      '-H',
      `If-None-Match: ${etag}`,
      url,
    );
    assert.equal(code, '304');
    const limited = join(bench.folder, 'limited');
    await curl('--limit-rate', '20M', '-o', limited, url);
    assert.ok((await readFile(limited)).equals(content), 'a slow reader gets the same bytes');

    const many = Array.from({ length: 20 }, (_, n) => ['-o', join(bench.folder, `p${n}`), url]);
    await curl('-Z', ...many.flat());
    for (let n = 0; n < many.length; n++) {
      assert.ok((await readFile(join(bench.folder, `p${n}`))).equals(content), `parallel ${n}`);
    }
  });

  test('curl: a report by POST, and a body of which the length is not known', async (t) => {
    if (!need(t, CURL)) return;
    let request: BootRequest | undefined;
    const bench = await Bench.start(t, (r) => {
      request = r;
      return { kind: 'text', status: 200, contentType: 'text/plain', body: 'ok\n' };
    });
    const url = `http://127.0.0.1:${bench.port}/boot/report?stage=ready`;
    assert.equal(await run('curl', ['-sS', '-d', 'root=/dev/sda1', url]), 'ok\n');
    assert.equal(request?.body.toString(), 'root=/dev/sda1');
    const expect = ['-H', 'Expect: 100-continue', '--expect100-timeout', '30'];
    assert.equal(await run('curl', ['-sS', ...expect, '-d', 'x', url]), 'ok\n');
    const chunked = ['-H', 'Transfer-Encoding: chunked', '-d', 'x', '-w', '%{http_code}'];
    assert.match(await run('curl', ['-sS', '-o', '/dev/null', ...chunked, url]), /^411$/);
    const http10 = await run('curl', ['-sS', '-0', '-i', url]);
    assert.match(http10, /Connection: close\r\n/);
  });

  test('the address that a client used is what the site is told', async (t) => {
    if (!need(t, { ...CURL, root: true, tools: ['curl', 'ip'] })) return;
    const seen: string[] = [];
    const server = new HttpServer({
      listen: [{ address: '::', port: 0 }],
      site: {
        resolve({ localAddress, remoteAddress }) {
          seen.push(`${remoteAddress} → ${localAddress}`);
          return { kind: 'text', status: 200, contentType: 'text/plain', body: '' };
        },
      },
    });
    await server.start();
    t.after(() => server.stop());
    const port = server.addresses[0]?.port ?? 0;
    for (const host of ['127.0.0.1', '127.0.0.2', '[::1]']) {
      await run('curl', ['-sS', '-g', `http://${host}:${port}/`]);
    }
    assert.deepEqual(seen, ['127.0.0.1 → 127.0.0.1', '127.0.0.1 → 127.0.0.2', '::1 → ::1']);
  });

  test('UEFI HTTP Boot of OVMF: HEAD, then GET, then iPXE runs', async (t) => {
    const loader = '/usr/lib/ipxe/snponly.efi';
    const tools = ['qemu-system-x86_64', 'setpriv', 'dnsmasq', 'ip'];
    const firmware = '/usr/share/OVMF/OVMF_CODE_4M.fd';
    if (!need(t, { root: true, tools, files: [loader, firmware] })) return;
    const site = {
      files: { '/loader/snponly.efi': { root: '/usr/lib/ipxe', path: 'snponly.efi' } },
      texts: { [`/boot/${MAC_PATH}.ipxe`]: ['#!ipxe\nshell\n'] },
    };
    const lab = await IpxeLab.startHttpBoot(t, site, '/loader/snponly.efi');
    const first = await lab.request('/loader/snponly.efi');
    assert.equal(first.method, 'HEAD');
    await lab.site.waitFor(
      /^request .*"method":"GET","path":"\/loader\/snponly\.efi"/m,
      GUEST_LIMIT_MS,
    );
    await lab.site.waitFor(
      /^finished .*snponly\.efi","status":200,"sentBytes":[1-9]/m,
      GUEST_LIMIT_MS,
    );
    await lab.request(`/boot/${MAC_PATH}.ipxe`);
  });
});
