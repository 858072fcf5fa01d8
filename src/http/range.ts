/** What a Range header asks of a body of known size (RFC 9110 §14). */
export type RangeAnswer =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part'; readonly startBytes: number; readonly lengthBytes: number }
  | { readonly kind: 'unsatisfiable' };

const WHOLE: RangeAnswer = { kind: 'whole' };

/**
 * Reads a Range header. One range of bytes is honoured. Several are answered with the whole body,
 * which RFC 9110 §14.2 allows and which costs an attacker as much as it costs us: no multipart, so
 * `bytes=0-0,0-0,…` multiplies nothing. Malformed ranges and other units are ignored as §14.2 says.
 */
export function decideRange(header: string | undefined, sizeBytes: number): RangeAnswer {
  if (header === undefined) return WHOLE;
  // 15 digits stay below 2^53; a longer number is no place in any file.
  const m = /^bytes[ \t]*=[ \t]*(\d{0,15})-(\d{0,15})[ \t]*$/i.exec(header);
  if (m === null) return WHOLE;
  const [, first = '', last = ''] = m;
  if (first === '') {
    if (last === '') return WHOLE;
    const suffix = Math.min(Number(last), sizeBytes);
    if (suffix === 0) return { kind: 'unsatisfiable' };
    return { kind: 'part', startBytes: sizeBytes - suffix, lengthBytes: suffix };
  }
  const start = Number(first);
  const end = last === '' ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1);
  if (last !== '' && Number(last) < start) return WHOLE;
  if (start >= sizeBytes) return { kind: 'unsatisfiable' };
  return { kind: 'part', startBytes: start, lengthBytes: end - start + 1 };
}
