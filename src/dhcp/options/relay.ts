import { u32At } from './basic.ts';
import { OPTION } from './codes.ts';
import type { Options } from './raw.ts';

/** Option 82 (RFC 3046). We read it, and echo it byte for byte: it is the relay's, not ours. */
export type RelayInformation = {
  readonly circuitId?: Uint8Array;
  readonly remoteId?: Uint8Array;
  /** RFC 3527: the subnet to take the address from, when it is not giaddr's. */
  readonly linkSelection?: number;
};

const CIRCUIT_ID = 1;
const REMOTE_ID = 2;
const LINK_SELECTION = 5;

/** The sub-options we know. A malformed tail is left alone, since the raw bytes are what counts. */
export function relayInformation(options: Options): RelayInformation | undefined {
  const v = options.get(OPTION.relayAgent);
  if (v === undefined) return undefined;
  const found: { circuitId?: Uint8Array; remoteId?: Uint8Array; linkSelection?: number } = {};
  let at = 0;
  while (at + 2 <= v.length) {
    const length = v[at + 1]!;
    if (at + 2 + length > v.length) break;
    const value = v.subarray(at + 2, at + 2 + length);
    if (v[at] === CIRCUIT_ID) found.circuitId = value;
    else if (v[at] === REMOTE_ID) found.remoteId = value;
    else if (v[at] === LINK_SELECTION && length === 4) found.linkSelection = u32At(value, 0);
    at += 2 + length;
  }
  return found;
}
