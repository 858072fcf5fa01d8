import { FIRST_BURST_BYTES, MAX_BURST_BYTES, OUTSTANDING_R2T_MAX } from './limits.ts';
import { RECEIVE_SEGMENT_BYTES_MAX } from './limits.ts';
import { parseNumber } from './text.ts';

/** The operational parameters of a session (RFC 7143 §13), by what they mean to us. */
export type Negotiated = {
  headerDigest: 'None' | 'CRC32C';
  dataDigest: 'None' | 'CRC32C';
  maxConnections: number;
  initialR2t: boolean;
  immediateData: boolean;
  /** What the initiator takes in one data segment. */
  initiatorSegmentBytes: number;
  maxBurstBytes: number;
  firstBurstBytes: number;
  timeToWaitS: number;
  timeToRetainS: number;
  maxOutstandingR2t: number;
  dataPduInOrder: boolean;
  dataSequenceInOrder: boolean;
  errorRecoveryLevel: number;
  taskReporting: string;
  protocolLevel: number;
};

/** The defaults of RFC 7143 §13, in force when a key is not negotiated. */
export const DEFAULTS: Readonly<Negotiated> = {
  headerDigest: 'None',
  dataDigest: 'None',
  maxConnections: 1,
  initialR2t: true,
  immediateData: true,
  initiatorSegmentBytes: 8192,
  maxBurstBytes: 262144,
  firstBurstBytes: 65536,
  timeToWaitS: 2,
  timeToRetainS: 20,
  maxOutstandingR2t: 1,
  dataPduInOrder: true,
  dataSequenceInOrder: true,
  errorRecoveryLevel: 0,
  taskReporting: 'RFC3720',
  protocolLevel: 1,
};

/** Our side of each negotiation, and what we declare. */
export type NegotiationOffer = Omit<
  Negotiated,
  'headerDigest' | 'dataDigest' | 'taskReporting' | 'initiatorSegmentBytes'
> & {
  readonly headerDigests: readonly string[];
  readonly dataDigests: readonly string[];
  readonly taskReportings: readonly string[];
  /** Declared as MaxRecvDataSegmentLength. */
  readonly receiveSegmentBytes: number;
};

/** What this target offers: one connection, recovery level 0, all else as large as it gets. */
export const DEFAULT_OFFER: NegotiationOffer = {
  headerDigests: ['None', 'CRC32C'],
  dataDigests: ['None', 'CRC32C'],
  taskReportings: ['RFC3720'],
  receiveSegmentBytes: RECEIVE_SEGMENT_BYTES_MAX,
  maxConnections: 1,
  initialR2t: false,
  immediateData: true,
  maxBurstBytes: MAX_BURST_BYTES,
  firstBurstBytes: FIRST_BURST_BYTES,
  timeToWaitS: 0,
  timeToRetainS: 0,
  maxOutstandingR2t: OUTSTANDING_R2T_MAX,
  dataPduInOrder: true,
  dataSequenceInOrder: true,
  errorRecoveryLevel: 0,
  protocolLevel: 1,
};

type NumberField = {
  [K in keyof Negotiated]: Negotiated[K] extends number ? K : never;
}[keyof Negotiated];
type OfferedNumber = Exclude<NumberField, 'initiatorSegmentBytes'>;
type BooleanField = {
  [K in keyof Negotiated]: Negotiated[K] extends boolean ? K : never;
}[keyof Negotiated];

const MAX_24_BIT = 0xffffff;

/**
 * How a key is negotiated (RFC 7143 §6.2.1–6.2.2).
 *
 * - `identity`: declared by the initiator, read by the login machine; no reply.
 * - `security`: belongs to authentication, read by the login machine.
 * - `fixed`: always gets this reply.
 */
type KeyRule =
  | { readonly form: 'identity' }
  | { readonly form: 'security' }
  | { readonly form: 'fixed'; readonly reply: string }
  | { readonly form: 'declared-segment' }
  | { readonly form: 'digest'; readonly field: 'headerDigest' | 'dataDigest' }
  | { readonly form: 'task-reporting' }
  | { readonly form: 'boolean'; readonly field: BooleanField; readonly combine: 'and' | 'or' }
  | {
      readonly form: 'number';
      readonly field: OfferedNumber;
      readonly combine: 'min' | 'max';
      readonly from: number;
      readonly to: number;
    };

const number = (
  field: OfferedNumber,
  combine: 'min' | 'max',
  from: number,
  to: number,
): KeyRule => ({
  form: 'number',
  field,
  combine,
  from,
  to,
});

/** Every key of RFC 7143 §13 (and RFC 7144's), with its result function. */
export const KEYS: ReadonlyMap<string, KeyRule> = new Map<string, KeyRule>([
  ['InitiatorName', { form: 'identity' }],
  ['InitiatorAlias', { form: 'identity' }],
  ['TargetName', { form: 'identity' }],
  ['SessionType', { form: 'identity' }],
  ['AuthMethod', { form: 'security' }],
  ['CHAP_A', { form: 'security' }],
  ['CHAP_I', { form: 'security' }],
  ['CHAP_C', { form: 'security' }],
  ['CHAP_N', { form: 'security' }],
  ['CHAP_R', { form: 'security' }],
  ['HeaderDigest', { form: 'digest', field: 'headerDigest' }],
  ['DataDigest', { form: 'digest', field: 'dataDigest' }],
  ['MaxRecvDataSegmentLength', { form: 'declared-segment' }],
  ['MaxConnections', number('maxConnections', 'min', 1, 65535)],
  ['InitialR2T', { form: 'boolean', field: 'initialR2t', combine: 'or' }],
  ['ImmediateData', { form: 'boolean', field: 'immediateData', combine: 'and' }],
  ['MaxBurstLength', number('maxBurstBytes', 'min', 512, MAX_24_BIT)],
  ['FirstBurstLength', number('firstBurstBytes', 'min', 512, MAX_24_BIT)],
  ['DefaultTime2Wait', number('timeToWaitS', 'max', 0, 3600)],
  ['DefaultTime2Retain', number('timeToRetainS', 'min', 0, 3600)],
  ['MaxOutstandingR2T', number('maxOutstandingR2t', 'min', 1, 65535)],
  ['DataPDUInOrder', { form: 'boolean', field: 'dataPduInOrder', combine: 'or' }],
  ['DataSequenceInOrder', { form: 'boolean', field: 'dataSequenceInOrder', combine: 'or' }],
  ['ErrorRecoveryLevel', number('errorRecoveryLevel', 'min', 0, 2)],
  ['TaskReporting', { form: 'task-reporting' }],
  ['iSCSIProtocolLevel', number('protocolLevel', 'min', 0, 31)],
  // Obsolete (§13.25): markers must not be answered NotUnderstood.
  ['IFMarker', { form: 'fixed', reply: 'No' }],
  ['OFMarker', { form: 'fixed', reply: 'No' }],
  ['IFMarkInt', { form: 'fixed', reply: 'Reject' }],
  ['OFMarkInt', { form: 'fixed', reply: 'Reject' }],
  // Ours to declare, or only for the full feature phase.
  ['TargetAlias', { form: 'fixed', reply: 'Reject' }],
  ['TargetAddress', { form: 'fixed', reply: 'Reject' }],
  ['TargetPortalGroupTag', { form: 'fixed', reply: 'Reject' }],
  ['SendTargets', { form: 'fixed', reply: 'Reject' }],
]);

/**
 * Keys of which RFC 7143 §13 says "Irrelevant when: SessionType=Discovery". All others are
 * negotiated in discovery sessions too: open-iscsi 2.1.8 gives up over an Irrelevant
 * ErrorRecoveryLevel.
 */
const IRRELEVANT_IN_DISCOVERY: ReadonlySet<string> = new Set([
  'MaxConnections',
  'InitialR2T',
  'ImmediateData',
  'MaxBurstLength',
  'FirstBurstLength',
  'MaxOutstandingR2T',
  'DataPDUInOrder',
  'DataSequenceInOrder',
]);

/**
 * Negotiates one operational key: changes `result` and returns the reply, or null when the key
 * takes none. An impossible value is answered `Reject` and changes nothing.
 */
export function negotiateKey(
  key: string,
  value: string,
  offer: NegotiationOffer,
  result: Negotiated,
  discovery: boolean,
): string | null {
  const rule = KEYS.get(key);
  if (rule === undefined) return 'NotUnderstood';
  if (rule.form === 'identity' || rule.form === 'security') return null;
  if (discovery && IRRELEVANT_IN_DISCOVERY.has(key)) return 'Irrelevant';
  return applyRule(rule, value, offer, result);
}

function applyRule(
  rule: Exclude<KeyRule, { form: 'identity' } | { form: 'security' }>,
  value: string,
  offer: NegotiationOffer,
  result: Negotiated,
): string | null {
  switch (rule.form) {
    case 'fixed':
      return rule.reply;
    case 'declared-segment':
      return declareSegment(value, result);
    case 'digest': {
      const ours = rule.field === 'headerDigest' ? offer.headerDigests : offer.dataDigests;
      const chosen = firstCommon(value, ours);
      if (chosen === undefined) return 'Reject';
      result[rule.field] = chosen === 'CRC32C' ? 'CRC32C' : 'None';
      return chosen;
    }
    case 'task-reporting': {
      const chosen = firstCommon(value, offer.taskReportings);
      if (chosen !== undefined) result.taskReporting = chosen;
      return chosen ?? 'Reject';
    }
    case 'boolean': {
      if (value !== 'Yes' && value !== 'No') return 'Reject';
      const [ours, theirs] = [offer[rule.field], value === 'Yes'];
      result[rule.field] = rule.combine === 'and' ? ours && theirs : ours || theirs;
      return result[rule.field] ? 'Yes' : 'No';
    }
    case 'number': {
      const theirs = parseNumber(value);
      if (theirs === undefined || theirs < rule.from || theirs > rule.to) return 'Reject';
      result[rule.field] = Math[rule.combine](offer[rule.field], theirs);
      return String(result[rule.field]);
    }
    default: {
      const never: never = rule;
      return never;
    }
  }
}

function declareSegment(value: string, result: Negotiated): string | null {
  const length = parseNumber(value);
  if (length === undefined || length < 512 || length > MAX_24_BIT) return 'Reject';
  result.initiatorSegmentBytes = length;
  return null;
}

/** The first value of the initiator's list that we have (RFC 7143 §6.2.1: its order counts). */
export function firstCommon(list: string, ours: readonly string[]): string | undefined {
  return list.split(',').find((value) => ours.includes(value));
}
