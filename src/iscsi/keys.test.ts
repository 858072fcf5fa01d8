import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULTS, DEFAULT_OFFER, KEYS, negotiateKey } from './keys.ts';
import type { Negotiated } from './keys.ts';

function negotiate(
  key: string,
  value: string,
  discovery = false,
): { reply: string | null; result: Negotiated } {
  const result = { ...DEFAULTS };
  const reply = negotiateKey(key, value, DEFAULT_OFFER, result, discovery);
  return { reply, result };
}

test('each key has its result function (RFC 7143 §13)', () => {
  const cases: [key: string, value: string, reply: string | null, got: Partial<Negotiated>][] = [
    ['HeaderDigest', 'CRC32C,None', 'CRC32C', { headerDigest: 'CRC32C' }],
    ['HeaderDigest', 'None,CRC32C', 'None', { headerDigest: 'None' }],
    ['DataDigest', 'MD5,CRC32C', 'CRC32C', { dataDigest: 'CRC32C' }],
    ['DataDigest', 'MD5', 'Reject', { dataDigest: 'None' }],
    ['MaxConnections', '8', '1', { maxConnections: 1 }],
    ['InitialR2T', 'No', 'No', { initialR2t: false }],
    ['InitialR2T', 'Yes', 'Yes', { initialR2t: true }],
    ['ImmediateData', 'No', 'No', { immediateData: false }],
    ['ImmediateData', 'Yes', 'Yes', { immediateData: true }],
    ['MaxRecvDataSegmentLength', '16384', null, { initiatorSegmentBytes: 16384 }],
    ['MaxRecvDataSegmentLength', '511', 'Reject', { initiatorSegmentBytes: 8192 }],
    ['MaxBurstLength', '262144', '262144', { maxBurstBytes: 262144 }],
    ['MaxBurstLength', '16777215', '4194304', { maxBurstBytes: 4194304 }],
    ['FirstBurstLength', '0x10000', '65536', { firstBurstBytes: 65536 }],
    ['FirstBurstLength', '16777216', 'Reject', { firstBurstBytes: 65536 }],
    ['DefaultTime2Wait', '5', '5', { timeToWaitS: 5 }],
    ['DefaultTime2Retain', '20', '0', { timeToRetainS: 0 }],
    ['MaxOutstandingR2T', '1', '1', { maxOutstandingR2t: 1 }],
    ['MaxOutstandingR2T', '0', 'Reject', { maxOutstandingR2t: 1 }],
    ['DataPDUInOrder', 'No', 'Yes', { dataPduInOrder: true }],
    ['DataSequenceInOrder', 'No', 'Yes', { dataSequenceInOrder: true }],
    ['ErrorRecoveryLevel', '2', '0', { errorRecoveryLevel: 0 }],
    ['TaskReporting', 'FastAbort,RFC3720', 'RFC3720', {}],
    ['iSCSIProtocolLevel', '2', '1', { protocolLevel: 1 }],
    ['IFMarker', 'Yes', 'No', {}],
    ['OFMarkInt', '2048~8192', 'Reject', {}],
    ['InitialR2T', 'yes', 'Reject', { initialR2t: true }],
    ['X-org.example.thing', '1', 'NotUnderstood', {}],
    ['TargetAlias', 'me', 'Reject', {}],
    ['InitiatorAlias', 'me', null, {}],
  ];
  for (const [key, value, reply, got] of cases) {
    const answer = negotiate(key, value);
    assert.equal(answer.reply, reply, `${key}=${value}`);
    assert.deepEqual({ ...answer.result, ...got }, answer.result, `${key}=${value}`);
  }
});

test('in a discovery session what concerns data is irrelevant, and nothing else', () => {
  // RFC 7143 §13.15, 13.16, 13.20; open-iscsi ends a login over any of them being Irrelevant.
  assert.equal(negotiate('ErrorRecoveryLevel', '2', true).reply, '0');
  assert.equal(negotiate('DefaultTime2Wait', '2', true).reply, '2');
  assert.equal(negotiate('DefaultTime2Retain', '0', true).reply, '0');
  assert.equal(negotiate('iSCSIProtocolLevel', '1', true).reply, '1');
  assert.equal(negotiate('MaxBurstLength', '262144', true).reply, 'Irrelevant');
  assert.equal(negotiate('HeaderDigest', 'CRC32C', true).reply, 'CRC32C');
  assert.equal(
    negotiate('MaxRecvDataSegmentLength', '4096', true).result.initiatorSegmentBytes,
    4096,
  );
});

test('any value of any key gets an answer or none, and never throws', () => {
  const values = ['', '0', '-1', 'Yes', 'No', 'None', 'x'.repeat(8192), '1,2,3', '0xffffffff', '~'];
  for (const key of KEYS.keys()) {
    for (const value of values) {
      const { reply } = negotiate(key, value);
      assert.ok(reply === null || reply.length <= 16, `${key}=${value}`);
    }
  }
});
