import { DecodeError } from '#base/mod.ts';
import type { IpxeSettings } from '../policy.ts';
import { OPTION } from './codes.ts';

/** Sub-options of option 175 (iPXE's `src/include/ipxe/dhcp.h`, boot facts 1). */
export const IPXE = {
  priority: 1,
  keepSan: 8,
  skipSanBoot: 9,
  noPxeDhcp: 176,
  busId: 177,
  version: 235,
} as const;

/**
 * The encapsulated options of 175, by number. Throws DecodeError when a length runs past the end.
 * Clients send feature markers here (16 to 79), also when they hide their user class.
 */
export function decodeIpxe(value: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  let at = 0;
  while (at < value.length) {
    const code = value[at]!;
    if (code === OPTION.end) break;
    at += 1;
    if (code === OPTION.pad) continue;
    const length = value[at];
    if (length === undefined || at + 1 + length > value.length) {
      throw new DecodeError('ipxe-length', `sub-option ${code} of 175 runs past the end`, at);
    }
    found.set(code, value.subarray(at + 1, at + 1 + length));
    at += 1 + length;
  }
  return found;
}

/**
 * Option 175 for a client in iPXE, or undefined when there is nothing to say. `realServer` adds
 * 175.176: we give the address too, so iPXE need not wait two seconds for a proxy (boot facts 3).
 */
export function encodeIpxe(
  settings: IpxeSettings | undefined,
  realServer: boolean,
): Uint8Array | undefined {
  const parts: Uint8Array[] = [];
  const put = (code: number, ...bytes: number[]): void => {
    parts.push(Uint8Array.of(code, bytes.length, ...bytes));
  };
  if (settings?.priority !== undefined) put(IPXE.priority, settings.priority & 255);
  if (settings?.keepSan !== undefined) put(IPXE.keepSan, settings.keepSan ? 1 : 0);
  if (settings?.skipSanBoot !== undefined) put(IPXE.skipSanBoot, settings.skipSanBoot ? 1 : 0);
  if (realServer) put(IPXE.noPxeDhcp, 1);
  for (const [code, value] of settings?.further ?? []) put(code, ...value);
  if (parts.length === 0) return undefined;
  parts.push(Uint8Array.of(OPTION.end));
  return Buffer.concat(parts);
}
