import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeScsiCommand } from './pdu/mod.ts';
import { readWrite, testServer } from './testing/disk.ts';
import { TestInitiator, USUAL_KEYS } from './testing/initiator.ts';

const BLOCK = 512;
const CONTROL_PAGE = [0x0a, 0x0a, 0x20, 0x10, 0, 0, 0, 0, 0, 0, 0, 0];
const D_SENSE = 0x04;

test('faults of the transport come in the format of sense data that the unit was told to use', async () => {
  const i = new TestInitiator(testServer().server);
  await i.login({ keys: USUAL_KEYS.map(([k, v]) => [k, k === 'ImmediateData' ? 'No' : v]) });
  await i.command([0, 0, 0, 0, 0, 0]);
  const unwanted = async (): Promise<Uint8Array> => {
    const pdu = i.commandPdu(readWrite('write', 0, 1), {
      write: true,
      expectedLengthBytes: BLOCK,
      data: new Uint8Array(BLOCK),
    });
    i.send(encodeScsiCommand(pdu));
    const { status, sense } = await i.result(pdu.initiatorTaskTag);
    assert.equal(status, 2);
    return sense;
  };
  const fixed = await unwanted();
  assert.deepEqual([fixed[0], fixed[2], fixed[12], fixed[13]], [0x70, 0x0b, 0x0c, 0x0c]);

  const page = CONTROL_PAGE.map((byte, at) => (at === 2 ? byte | D_SENSE : byte));
  const list = Uint8Array.from([0, 0, 0, 0, ...page]);
  const selected = await i.command([0x15, 0x10, 0, 0, list.length, 0], { write: list });
  assert.equal(selected.status, 0);
  assert.deepEqual([...(await unwanted())], [0x72, 0x0b, 0x0c, 0x0c, 0, 0, 0, 0]);

  // READ(10) beyond the end: the unit's own sense looks the same.
  const beyond = await i.command(readWrite('read', 2 ** 31, 1), { readBytes: BLOCK });
  assert.equal(beyond.sense[0], 0x72);
});
