import { urlWord } from './text.ts';

/**
 * What scripts ask of the boot listener. All absolute, by GET with a query: BIOS builds of iPXE
 * have no POST (`params`), and `${next-server}` may be the house router's.
 */

/** The query fields of a report; each is present only where it says something. */
export const REPORT_FIELDS = {
  /** `52-54-00-12-34-56` of the card that booted. */
  mac: 'mac',
  /** `register`: an unknown machine introduces itself. `failed`: a step of the script failed. */
  stage: 'stage',
  /** What failed: `drive-0x80`, `kernel`, `initrd`, `iso`, `boot`. */
  step: 'step',
  /** Eight hex digits, as in http://ipxe.org/XXXXXXXX; see `decodeIpxeError`. */
  error: 'error',
  /** Facts of a machine that introduces itself. */
  facts: ['uuid', 'serial', 'manufacturer', 'product', 'asset', 'platform', 'buildarch', 'version'],
} as const;

/** The MAC of the card in use, as paths want it: `netX` is the card that was opened last. */
const MAC = '${netX/mac:hexhyp}';

/** `set` lines that scripts of every kind start with: where the server is, who we are. */
export function preamble(baseUrl: string): string[] {
  const base = urlWord(baseUrl.replace(/\/+$/, ''), 'base URL');
  return [
    `set base ${base}`,
    `set script \${base}/boot/${MAC}.ipxe`,
    `set report \${base}/boot/report?mac=${MAC}`,
  ];
}

/** The facts of this machine as query fields; text that the firmware's maker chose is encoded. */
export function factsQuery(): string {
  return REPORT_FIELDS.facts
    .map((f) => (f === 'uuid' ? 'uuid=${uuid}' : `${f}=\${${f}:uristring}`))
    .join('&');
}

/**
 * Tells the server something and goes on whatever happens. The image must be freed again: Linux
 * would get it as one more initrd.
 */
export function beacon(query: string): string[] {
  return [`imgfetch --name beacon --timeout 5000 \${report}&${query} && imgfree beacon ||`];
}
