import { NAME_BYTES_MAX } from './limits.ts';

/**
 * The canonical form of an iSCSI name (RFC 7143 §4.2.7, RFC 3722: case folded and NFKC), or
 * undefined when it is none: a type (`iqn.`, `eui.`, `naa.`), letters, digits, `-`, `.`, `:`, at
 * most 223 bytes. The underscore is not in the standard but in many real names.
 */
export function normalizeIscsiName(text: string): string | undefined {
  const name = text.normalize('NFKC').toLowerCase();
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) return undefined;
  if (name.startsWith('eui.')) return /^eui\.[0-9a-f]{16}$/.test(name) ? name : undefined;
  if (name.startsWith('naa.')) {
    return /^naa\.([0-9a-f]{16}|[0-9a-f]{32})$/.test(name) ? name : undefined;
  }
  return /^iqn\.[\p{L}\p{N}._:-]+$/u.test(name) ? name : undefined;
}

/** The iSCSI port name of an initiator (RFC 7143 §4.2.7.1): `name,i,0x` and the ISID in hex. */
export function initiatorPortName(initiatorName: string, isidHex: string): string {
  return `${initiatorName},i,0x${isidHex}`;
}

/** `10.0.0.1:3260` or `[fe80::1]:3260`. */
export function formatPortal(portal: { readonly address: string; readonly port: number }): string {
  const host = portal.address.includes(':') ? `[${portal.address}]` : portal.address;
  return `${host}:${portal.port}`;
}
