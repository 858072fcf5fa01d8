/**
 * Content types by extension. The first three are how EDK2's HTTP Boot tells an EFI program from an
 * image to mount as a RAM disk (UEFI 2.10 §24.7.2); the rest is for people's browsers and curl.
 */
const TYPES: ReadonlyMap<string, string> = new Map([
  ['efi', 'application/efi'],
  ['iso', 'application/vnd.efi-iso'],
  ['img', 'application/vnd.efi-img'],
  ['ipxe', 'text/plain; charset=utf-8'],
  ['txt', 'text/plain; charset=utf-8'],
  ['cfg', 'text/plain; charset=utf-8'],
  ['conf', 'text/plain; charset=utf-8'],
  ['ks', 'text/plain; charset=utf-8'],
  ['json', 'application/json'],
  ['yaml', 'text/plain; charset=utf-8'],
  ['gz', 'application/gzip'],
]);

/** The content type for a file name; `application/octet-stream` when nothing is known of it. */
export function contentTypeOf(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const dot = name.lastIndexOf('.');
  const extension = dot < 0 ? '' : name.slice(dot + 1).toLowerCase();
  return TYPES.get(extension) ?? 'application/octet-stream';
}
