/**
 * The stages of one boot, in order, as the server sees them. A boot need not show all of them: a
 * network card that is iPXE already begins at `ipxe`, and DOS stays at `disk` for ever.
 */
export const STAGES = [
  /** Firmware asked for an address (DHCPDISCOVER with option 93). */
  'power-on',
  /** It has its address and knows what to fetch. */
  'dhcp',
  /** The loader went over the wire, by TFTP or UEFI HTTP Boot. */
  'loader',
  /** iPXE asked for its own address, with user class iPXE. */
  'ipxe',
  /** iPXE fetched its script. */
  'script',
  /** iPXE logged in to the iSCSI target. */
  'login',
  /** The first blocks were read: from the disk, or a kernel or an ISO over HTTP. */
  'disk',
  /** The operating system logged in to the target by its own initiator. */
  'os',
  /** The booted system reported itself. */
  'ready',
] as const;

export type Stage = (typeof STAGES)[number];

/** Position of a stage in a boot; higher is later. */
export function stageIndex(stage: Stage): number {
  return STAGES.indexOf(stage);
}
