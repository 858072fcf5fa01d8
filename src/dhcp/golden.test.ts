import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatIpv4, printable } from '#base/mod.ts';
import { Bench, SERVER } from './fixtures.ts';
import { hardwareAddress } from './facts.ts';
import { OPTION } from './options/codes.ts';
import { decodePacket, type DhcpPacket, encodePacket } from './packet.ts';
import type { BootRequest, BootAnswer } from './policy.ts';

/** Packets of real clients with their text; UPDATE_GOLDEN=1 rewrites the text. */
const PATH = join(import.meta.dirname, 'golden', 'boots.txt');

type Captured = { readonly title: string; readonly bytes: Buffer; readonly text: string };

function readCapture(): { intro: string; packets: Captured[] } {
  const [intro = '', ...sections] = readFileSync(PATH, 'utf8').split('\n# ');
  const packets = sections.map((section) => {
    const [title = '', ...lines] = section.trimEnd().split('\n');
    const hex = lines.filter((l) => !l.startsWith(' ')).join('');
    const text = lines.filter((l) => l.startsWith(' ')).join('\n');
    return { title, bytes: Buffer.from(hex, 'hex'), text };
  });
  return { intro, packets };
}

function describe(packet: DhcpPacket): string {
  const address = (n: number): string => formatIpv4(n);
  const lines = [
    `op ${packet.op} htype ${packet.htype} hops ${packet.hops} xid ${packet.xid.toString(16)}` +
      ` secs ${packet.secs} flags ${packet.flags.toString(16)}`,
    `ciaddr ${address(packet.ciaddr)} yiaddr ${address(packet.yiaddr)}` +
      ` siaddr ${address(packet.siaddr)} giaddr ${address(packet.giaddr)}`,
    `chaddr ${hardwareAddress(packet)} sname "${packet.sname}" file "${packet.file}"`,
  ];
  const names = new Map<number, string>(Object.entries(OPTION).map(([name, code]) => [code, name]));
  for (const [code, value] of packet.options) {
    const bytes = Buffer.from(value);
    const shown = /^[\x20-\x7e]{3,}\0?$/.test(bytes.toString('latin1'))
      ? `"${printable(bytes.toString('latin1'))}"`
      : bytes.toString('hex');
    lines.push(`${code} ${names.get(code) ?? '?'}: ${shown}`);
  }
  return lines.map((l) => `  ${l}`).join('\n');
}

function boot(request: BootRequest): BootAnswer | undefined {
  if (request.stage === 'ipxe') return { kind: 'url', url: `http://${SERVER}/script` };
  if (request.stage === 'http-client') return { kind: 'url', url: `http://${SERVER}/snponly.efi` };
  if (request.stage !== 'firmware') return undefined;
  return { kind: 'tftp', file: request.arch === 7 ? 'snponly.efi' : 'undionly.kpxe' };
}

test('golden: every captured packet reads as its text says', () => {
  const { intro, packets } = readCapture();
  assert.ok(packets.length >= 20, `${packets.length} packets`);
  const described = packets.map((p) => ({ ...p, text: describe(decodePacket(p.bytes)) }));
  if (process.env['UPDATE_GOLDEN'] === '1') {
    const blocks = described.map(({ title, bytes, text }) => {
      const hex = bytes.toString('hex').match(/.{1,96}/g) ?? [];
      return `\n# ${title}\n${hex.join('\n')}\n${text}\n`;
    });
    writeFileSync(PATH, `${intro.trimEnd()}\n${blocks.join('')}`);
    return;
  }
  for (const [n, { title, text }] of described.entries()) {
    assert.equal(text, packets[n]?.text, `${n}: ${title}`);
  }
});

test('golden: decode, encode, decode gives the same packet', () => {
  for (const { title, bytes } of readCapture().packets) {
    const once = decodePacket(bytes);
    assert.equal(describe(decodePacket(encodePacket(once))), describe(once), title);
  }
});

test('golden: the replies are what this server still answers, byte for byte', () => {
  const { packets } = readCapture();
  let bench = new Bench({ boot });
  let answer: Buffer | undefined;
  let compared = 0;
  let client = '';
  for (const { title, bytes } of packets) {
    // UEFI HTTP Boot was captured in a run of its own, after PXE had let two offers lapse.
    if (title.includes('HTTP') && !client.includes('HTTP')) {
      const pool = [{ first: '10.77.0.52', last: '10.77.0.99' }];
      bench = new Bench({ boot, pool, leaseSeconds: 60, domainName: undefined });
    }
    client = title;
    const [from, to] = title.split(': ')[1]?.split(' > ').map(Number) ?? [];
    const packet = decodePacket(bytes);
    if (packet.op === 2) {
      assert.equal(answer?.toString('hex'), bytes.toString('hex'), title);
      compared += 1;
      continue;
    }
    const source = { address: formatIpv4(packet.ciaddr), port: from ?? 68 };
    const outcome = bench.exchange.receive(bytes, source, to ?? 67);
    if (outcome.kind === 'send') answer = outcome.send.bytes;
    else if (outcome.kind === 'commit') {
      answer = bench.exchange.settle(outcome.pending, 'durable')?.bytes;
    } else assert.fail(`${title}: ${outcome.kind}`);
  }
  assert.equal(compared, packets.length / 2);
});
