import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, silentLog } from '#base/mod.ts';
import type { TftpFailure, TftpRequest } from '#tftp/mod.ts';
import { AddressBook } from './address-book.ts';
import { TftpStory } from './tftp-story.ts';
import { MemoryEventLog, Timeline } from './timeline.ts';

const MAC = '52:54:00:00:00:04';
const ADDRESS = '10.77.0.100';

test('whose address it is: what the kernel saw comes before what was given or claimed', () => {
  const neighbours = new Map<string, string>();
  const book = new AddressBook((a) => neighbours.get(a));
  book.learn(ADDRESS, MAC);
  assert.equal(book.macOf(`::ffff:${ADDRESS}`), MAC);
  assert.equal(book.neighbourOf(ADDRESS), undefined, 'a claim is worth no secret');
  neighbours.set(ADDRESS, '52:54:00:00:00:99');
  assert.equal(book.macOf(ADDRESS), '52:54:00:00:00:99');
});

test('the story of TFTP: loaders, and failures that a person can do something about', () => {
  const timeline = new Timeline({
    clock: new FakeClock(),
    log: new MemoryEventLog(),
    machineOf: () => undefined,
  });
  const loaded: string[] = [];
  const story = new TftpStory({
    timeline,
    addresses: new AddressBook(() => MAC),
    log: silentLog,
    onLoader: (mac) => loaded.push(mac),
  });
  const request = (name: string): TftpRequest => ({
    id: 1,
    client: { address: ADDRESS, port: 2070 },
    name,
    mode: 'octet',
    options: {},
  });
  const told = (name: string, reason: TftpFailure): string | undefined => {
    const before = timeline.lastId();
    story.failed(request(name), reason, 'none');
    return timeline.after(before)[0]?.problem?.what;
  };
  assert.match(told('wrong.efi', 'not-found') ?? '', /loader wrong\.efi could not be sent/);
  assert.equal(told('boot/autoexec.ipxe', 'not-found'), undefined, 'iPXE looks for it in vain');
  assert.equal(told('snponly.efi', 'client-error'), undefined, 'ROMs break off as they like');
  story.started(request('snponly.efi'));
  const facts = { sizeBytes: 10, durationMs: 1.2, retransmissions: 2, acknowledged: true };
  story.finished(request('snponly.efi'), facts);
  assert.deepEqual(loaded, [MAC]);
  const last = timeline.after(0).at(-1);
  assert.equal(last?.stage, 'loader');
  assert.deepEqual(last.facts, { file: 'snponly.efi', by: 'tftp', bytes: 10, ms: 1, resent: 2 });
  timeline.close();
});
