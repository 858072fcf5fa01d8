import { DecodeError, InternalError } from '#base/mod.ts';
import { OPTION } from './codes.ts';

/** Sub-options of option 43 for PXE (PXE 2.1 §2.2.3, boot facts 1). */
export const PXE = {
  discoveryControl: 6,
  multicastAddress: 7,
  bootServers: 8,
  bootMenu: 9,
  menuPrompt: 10,
  bootItem: 71,
} as const;

/** Discovery control, bit 3: do no discovery, fetch the file that this packet names. */
export const SKIP_DISCOVERY = 8;

/** The whole of option 43 must fit one option instance: ROMs do not join split ones. */
const BLOCK_BYTES = 255;

/**
 * The sub-options of a PXE option 43, by number. Throws DecodeError when a length runs past the
 * end; what follows the sub-option END is not read.
 */
export function decodePxe(value: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  let at = 0;
  while (at < value.length) {
    const code = value[at]!;
    if (code === OPTION.end) break;
    at += 1;
    if (code === OPTION.pad) continue;
    const length = value[at];
    if (length === undefined || at + 1 + length > value.length) {
      throw new DecodeError('pxe-length', `sub-option ${code} of 43 runs past the end`, at);
    }
    found.set(code, value.subarray(at + 1, at + 1 + length));
    at += 1 + length;
  }
  return found;
}

/** Encodes PXE sub-options in map order with their END. Throws InternalError above 255 bytes. */
export function encodePxe(subOptions: ReadonlyMap<number, Uint8Array>): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [code, value] of subOptions) {
    parts.push(Uint8Array.of(code, value.length), value);
  }
  parts.push(Uint8Array.of(OPTION.end));
  const whole = Buffer.concat(parts);
  if (whole.length > BLOCK_BYTES) throw new InternalError('option 43 exceeds 255 bytes');
  return whole;
}

/** One entry of a PXE boot menu: a type of boot server and what the person reads. */
export type PxeMenuEntry = { readonly type: number; readonly text: string };

/** Sub-option 9: the menu (u16 type, u8 length, text for each entry). */
export function pxeMenu(entries: readonly PxeMenuEntry[]): Uint8Array {
  return Buffer.concat(
    entries.map((e) => {
      const label = Buffer.from(e.text, 'latin1').subarray(0, 253);
      return Buffer.concat([Uint8Array.of(e.type >>> 8, e.type & 255, label.length), label]);
    }),
  );
}

/** Sub-option 10: seconds until the first entry is taken (0 at once, 255 never) and a prompt. */
export function pxePrompt(seconds: number, prompt: string): Uint8Array {
  return Buffer.concat([Uint8Array.of(seconds), Buffer.from(prompt, 'latin1').subarray(0, 252)]);
}
