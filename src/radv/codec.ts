import { DecodeError } from '#base/mod.ts';

/** ICMPv6 types of router discovery (RFC 4861 §4.1, §4.2). */
export const ROUTER_SOLICITATION = 133;
/** ICMPv6 type of a router advertisement (RFC 4861 §4.2). */
export const ROUTER_ADVERTISEMENT = 134;

const HEADER_BYTES = 8;
const ADVERTISEMENT_BYTES = 16;
/** Option lengths count in units of eight bytes (RFC 4861 §4.6). */
const OPTION_UNIT_BYTES = 8;
const SOURCE_LINK_LAYER = 1;

/** A router solicitation that passed the checks of RFC 4861 §6.1.1. */
export type RouterSolicitation = {
  /** The sender's hardware address, when it gave one. */
  readonly linkLayer: Uint8Array | undefined;
};

/**
 * Decodes a router solicitation (type byte first). Throws DecodeError for what RFC 4861 §6.1.1 says
 * to discard: `truncated`, `type`, `code`, `option-length`.
 */
export function decodeSolicitation(bytes: Uint8Array): RouterSolicitation {
  if (bytes.length < HEADER_BYTES) {
    throw new DecodeError('truncated', 'no whole router solicitation', bytes.length);
  }
  if (bytes[0] !== ROUTER_SOLICITATION) {
    throw new DecodeError('type', `ICMPv6 type ${bytes[0]}`, 0);
  }
  if (bytes[1] !== 0) throw new DecodeError('code', `ICMPv6 code ${bytes[1]}`, 1);
  let linkLayer: Uint8Array | undefined;
  let at = HEADER_BYTES;
  while (at < bytes.length) {
    const length = (bytes[at + 1] ?? 0) * OPTION_UNIT_BYTES;
    if (length === 0 || at + length > bytes.length) {
      throw new DecodeError('option-length', `option of ${length} bytes`, at + 1);
    }
    if (bytes[at] === SOURCE_LINK_LAYER) linkLayer = bytes.subarray(at + 2, at + length);
    at += length;
  }
  return { linkLayer };
}

/**
 * The least advertisement there is: no router (lifetime 0), no prefix, no flags, nothing but zeros.
 * It tells hosts that no router is here. The kernel fills in the checksum.
 */
export function encodeAdvertisement(): Buffer {
  const bytes = Buffer.alloc(ADVERTISEMENT_BYTES);
  bytes[0] = ROUTER_ADVERTISEMENT;
  return bytes;
}
