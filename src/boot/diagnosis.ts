import type { Explanation } from '#base/mod.ts';
import type { Stage } from './stages.ts';

/** How long a boot may rest at a stage before it counts as stopped, and what usually stopped it. */
export type Patience = { readonly limitMs: number; readonly problem: Explanation };

/**
 * Stage → what to think when nothing follows it. The limits are generous for slow firmware: UEFI
 * retries DHCP for a minute, and a Pentium reads a loader at 300 KB/s. A stage without a row may
 * last for ever: DOS stays at `disk`, and a booted system at `os` or `ready`.
 */
export const PATIENCE: Partial<Readonly<Record<Stage, Patience>>> = {
  'power-on': {
    limitMs: 30_000,
    problem: {
      what: 'The firmware asked for an address and did not go on.',
      why: 'Our answer did not reach it, or it took the offer of another DHCP server that names no boot file.',
      todo: 'Run `polyboot doctor` to see who else answers DHCP; on a managed switch set the port to portfast (spanning tree blocks the first 30 s).',
    },
  },
  dhcp: {
    limitMs: 30_000,
    problem: {
      what: 'The firmware got its address but never asked for the loader (PXE-E32 or PXE-E53 on its screen).',
      why: 'UDP port 69 is blocked by a firewall on this server, or the firmware took its boot file from another DHCP server.',
      todo: 'Open UDP port 69 and the ports above 1024 on this server; check that no other server sends option 66 or 67.',
    },
  },
  loader: {
    limitMs: 60_000,
    problem: {
      what: 'The loader was sent, but iPXE never came back for an address.',
      why: 'The loader does not drive this network card, the wrong file was chosen for this firmware, or Secure Boot refused it.',
      todo: 'Try the other loader: `polyboot machine set NAME --loader ipxe.efi` (UEFI) or `ipxe.pxe` (BIOS); switch Secure Boot off.',
    },
  },
  ipxe: {
    limitMs: 45_000,
    problem: {
      what: 'iPXE runs and has asked for an address, but never fetched its script.',
      why: 'The HTTP port of this server is blocked, or iPXE took the offer of another DHCP server.',
      todo: "Open the HTTP port that `polyboot up` printed; look at the machine's screen for an ipxe.org error number.",
    },
  },
  script: {
    limitMs: 90_000,
    problem: {
      what: 'The script was fetched, but the machine neither logged in to its disk nor fetched a file.',
      why: 'The iSCSI port (3260) is blocked, or the login was refused.',
      todo: 'Open TCP port 3260 on this server; `polyboot machine show NAME` lists the drives and the CHAP settings.',
    },
  },
  login: {
    limitMs: 60_000,
    problem: {
      what: 'iPXE logged in to the disk but never read from it.',
      why: 'The disk is blank or its boot sector is not marked 55AA (iPXE error 1d852039).',
      todo: 'Run `polyboot image inspect IMAGE`: it says whether the disk can boot and by which firmware.',
    },
  },
};
