const CR = 0x0d;
const LF = 0x0a;

/**
 * Bytes → netascii (RFC 764 by RFC 1350 §1): LF becomes CR LF, CR becomes CR NUL. A text file of
 * DOS (CR LF) therefore arrives as CR NUL CR LF, as every server sends it.
 */
export function toNetascii(bytes: Uint8Array): Uint8Array {
  let extra = 0;
  for (const b of bytes) if (b === CR || b === LF) extra += 1;
  if (extra === 0) return bytes;
  const out = new Uint8Array(bytes.length + extra);
  let at = 0;
  for (const b of bytes) {
    if (b === LF) out[at++] = CR;
    out[at++] = b;
    if (b === CR) out[at++] = 0;
  }
  return out;
}

/** netascii → bytes, the inverse. A CR before anything else stays. */
export function fromNetascii(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length);
  let at = 0;
  for (let n = 0; n < bytes.length; n++) {
    const b = bytes[n] ?? 0;
    const next = bytes[n + 1];
    if (b === CR && next === LF) continue;
    out[at++] = b;
    if (b === CR && next === 0) n += 1;
  }
  return out.subarray(0, at);
}
