import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { VirtualMachine, type MachineSpec } from '#vm/mod.ts';
import type { Lab } from './netns.ts';

/**
 * What a guest may take from power-on to the last thing a test waits for: ten times what it takes
 * where the processor is translated at ease, since hosts are slow and busy.
 */
export const GUEST_LIMIT_MS = 600_000;

/**
 * What asks the network first.
 *
 * - `ipxe-rom`: QEMU's own network ROM, which is iPXE already.
 * - `bios-vendor`: a BIOS whose first stage is not iPXE to the server: it asks with another user
 *   class and fetches by TFTP what the answer names, as a vendor's PXE ROM does.
 * - `uefi-pxe`: EDK2's own PXE client, genuinely not iPXE.
 * - `uefi-http`: EDK2's HTTP Boot client.
 */
export type FirstStage = 'ipxe-rom' | 'bios-vendor' | 'uefi-pxe' | 'uefi-http';

/** One guest of a lab. */
export type Guest = {
  readonly name: string;
  readonly mac: string;
  readonly stage: FirstStage;
  /** Default 256. */
  readonly memoryMib?: number;
  readonly more?: Partial<MachineSpec>;
};

/** A MAC address in QEMU's range that belongs to a name. */
export function macOf(name: string): string {
  const bytes = createHash('sha256').update(name).digest().subarray(0, 3);
  return ['52:54:00', ...Array.from(bytes, (b) => b.toString(16).padStart(2, '0'))].join(':');
}

/** Programs and files that the guests need, for `need()`. */
export const GUEST_NEEDS = {
  root: true,
  tools: ['ip', 'qemu-system-x86_64', 'setpriv'],
  files: [
    '/usr/share/OVMF/OVMF_CODE_4M.fd',
    '/usr/lib/ipxe/ipxe.lkrn',
    '/usr/lib/ipxe/undionly.kpxe',
  ],
} as const;

/**
 * The first stage of a BIOS that is not iPXE: iPXE's kernel under another name. It still sends
 * option 175, so it fools only servers that look at the user class, as they must. The class is
 * cleared before the loader starts: it would find it in the cached DHCP packet and go by it too.
 */
const VENDOR_SCRIPT = `#!ipxe
set user-class vendorpxe
dhcp net0 || reboot
clear user-class
isset \${proxydhcp/filename} && chain tftp://\${proxydhcp/next-server}/\${proxydhcp/filename} ||
isset \${pxebs/filename} && chain tftp://\${pxebs/next-server}/\${pxebs/filename} ||
chain tftp://\${next-server}/\${filename} || reboot
`;

/** Starts a guest on a tap of its own, stopped before power-on. The caller stops it. */
export async function startGuest(lab: Lab, folder: string, guest: Guest): Promise<VirtualMachine> {
  const tap = await lab.addTap();
  const script = join(folder, `${guest.name}.vendor`);
  if (guest.stage === 'bios-vendor') await writeFile(script, VENDOR_SCRIPT);
  const spec = guestSpec(guest, tap, script);
  return await VirtualMachine.start(spec, { namespace: lab.namespace });
}

function guestSpec(guest: Guest, tap: string, vendorScript: string): MachineSpec {
  const uefi = guest.stage === 'uefi-pxe' || guest.stage === 'uefi-http';
  const nic = {
    backend: { kind: 'tap', name: tap },
    mac: guest.mac,
    bootIndex: 1,
    // Only QEMU's own ROM makes the card an iPXE; without it the firmware must boot by itself.
    ...(guest.stage === 'ipxe-rom' ? {} : { romFile: '' }),
  } as const;
  return {
    name: guest.name,
    firmware: uefi ? 'ovmf' : 'bios',
    memoryMib: guest.memoryMib ?? 256,
    accel: 'tcg',
    nics: [nic],
    ...(guest.stage === 'bios-vendor'
      ? { kernel: { path: '/usr/lib/ipxe/ipxe.lkrn', initrd: vendorScript } }
      : {}),
    ...(guest.stage === 'uefi-http'
      ? {
          firmwareConfig: [
            { name: 'opt/org.tianocore/IPv4PXESupport', value: 'n' },
            { name: 'opt/org.tianocore/IPv6PXESupport', value: 'n' },
          ],
        }
      : {}),
    ...guest.more,
  };
}
