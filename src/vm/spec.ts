/**
 * A virtual machine as data. `arguments.ts` turns it into QEMU's command line; nothing here knows
 * how QEMU spells it.
 */

/** What the machine starts with: SeaBIOS, or EDK2's UEFI for virtual machines. */
export type Firmware = 'bios' | 'ovmf';

/** How guest code runs: translated (works everywhere) or on the host's processor. */
export type Accel = 'tcg' | 'kvm';

/** Where a network card's frames go. */
export type NicBackend =
  /** A tap that exists already, plugged into the bridge of the boot network. */
  | { readonly kind: 'tap'; readonly name: string }
  /** QEMU's own NAT with its DHCP and TFTP; `bootFile` is a path below `tftpFolder`. */
  | { readonly kind: 'user'; readonly tftpFolder: string; readonly bootFile: string };

/** One network card. */
export type NicSpec = {
  readonly backend: NicBackend;
  /** `aa:bb:cc:dd:ee:ff`. */
  readonly mac: string;
  /** QEMU's device name; default `virtio-net-pci`, which QEMU's iPXE, OVMF and Linux all drive. */
  readonly model?: string;
  /** Boot ROM: absent = QEMU's iPXE, `''` = none, otherwise a file. */
  readonly romFile?: string;
  /** Place in the firmware's boot order, 1 = first. */
  readonly bootIndex?: number;
};

/** What lies behind a drive. */
export type DriveSource =
  | { readonly kind: 'file'; readonly path: string; readonly format: 'raw' | 'qcow2' }
  /** `iscsi://host:port/iqn/lun`; needs QEMU's iSCSI driver (Debian: qemu-block-extra). */
  | {
      readonly kind: 'iscsi';
      readonly url: string;
      readonly initiatorName?: string;
      /** The secret is in a file: a command line can be read by every user of the host. */
      readonly chap?: { readonly user: string; readonly secretFile: string };
    };

/** What the BIOS tells its guest about a disk (INT 13h AH=08h). */
export type BiosGeometry = {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectorsPerTrack: number;
};

/** How the guest sees a drive. */
export type DriveBus = 'ide' | 'virtio' | 'cdrom' | 'floppy';

/** One drive. Without a source it is an empty CD-ROM or floppy drive. */
export type DriveSpec = {
  /** Unique, letters and digits: the name by which the medium is changed later. */
  readonly id: string;
  readonly bus: DriveBus;
  readonly source?: DriveSource;
  readonly readOnly?: boolean;
  readonly bootIndex?: number;
  /** Of an IDE disk; default: SeaBIOS guesses. At most 1024/255/63. */
  readonly geometry?: BiosGeometry;
};

/** Where the picture goes. */
export type Display =
  | { readonly kind: 'none' }
  /** `vnc.sock` in the run folder. */
  | { readonly kind: 'vnc-unix' }
  /** TCP; VNC has no password here, so `address` should be loopback. */
  | { readonly kind: 'vnc-tcp'; readonly address: string; readonly port: number };

/** A Linux-format kernel that the firmware starts itself (also how `ipxe.lkrn` is started). */
export type DirectKernel = {
  readonly path: string;
  readonly initrd?: string;
  readonly commandLine?: string;
};

/** One machine. */
export type MachineSpec = {
  /** Shown by `ps` and in error texts. */
  readonly name: string;
  readonly firmware: Firmware;
  readonly memoryMib: number;
  readonly accel: Accel;
  /** Default: `max` under TCG, the host's without nested surprises under KVM. */
  readonly cpu?: string;
  /** Default 1. */
  readonly processors?: number;
  /** QEMU's machine type; default `pc` (a 1996 chipset: what DOS and Windows 9x know). */
  readonly machineType?: 'pc' | 'q35';
  readonly nics?: readonly NicSpec[];
  readonly drives?: readonly DriveSpec[];
  readonly kernel?: DirectKernel;
  /** Default `none`. */
  readonly display?: Display;
  /** Default `std`. */
  readonly vga?: 'std' | 'cirrus' | 'none';
  /** SMBIOS system UUID. */
  readonly uuid?: string;
  /** Files that firmware reads through QEMU (`opt/…`). */
  readonly firmwareConfig?: readonly { readonly name: string; readonly value: string }[];
  /** A second control socket, `control.sock` in the run folder, for whoever comes along later. */
  readonly control?: boolean;
  /** What a guest's reset does: end the run (default: tests see it), or start over. */
  readonly onReboot?: 'end' | 'reset';
};
