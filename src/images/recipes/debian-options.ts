import { UserError } from '#base/mod.ts';

/** What one system of the Debian family is made of; `debian.json` is Debian's own. */
export type DebianData = {
  readonly name: string;
  /** As the boot menu calls it. */
  readonly title: string;
  readonly releases: readonly string[];
  readonly defaultRelease: string;
  readonly packages: readonly string[];
  readonly sshPackages: readonly string[];
  readonly kernels: Readonly<Record<KernelName, KernelData>>;
};

/** A kernel and what its initramfs must be able to drive. */
export type KernelData = {
  readonly package: string;
  /** MODULES of initramfs-tools: `list` takes those named here and no others. */
  readonly modulesPolicy: string;
  readonly modules: readonly string[];
};

/** `cloud`: small and quick, for virtual machines. `generic`: drivers for real computers. */
export type KernelName = 'cloud' | 'generic';

/** A login of the built system. */
export type BuildUser = {
  readonly name: string;
  /** Absent: no password login, keys only. */
  readonly password?: string;
  readonly sshKeys?: readonly string[];
};

/** What to build. Everything but the recipe has a default. */
export type BuildRequest = {
  /** One of `RECIPES`, by name. */
  readonly recipe: string;
  readonly release?: string;
  readonly kernel?: KernelName;
  /** Default: the image's name. */
  readonly hostName?: string;
  /** Default: root logs in without a password, on the consoles only. */
  readonly rootPassword?: string;
  /** For root; with any key, an SSH server is installed. */
  readonly sshKeys?: readonly string[];
  readonly users?: readonly BuildUser[];
  /** A script that runs once, at the first boot with a network, as root; begins with `#!`. */
  readonly firstBoot?: string;
  /** Further Debian packages. */
  readonly packages?: readonly string[];
  /** Default: 1 GiB, or what the packages need. */
  readonly sizeBytes?: number;
  /** HTTP port of the server to which a started system reports, default 8080. */
  readonly reportPort?: number;
  /** `deb` lines instead of the host's own archives. */
  readonly mirror?: readonly string[];
  /** Do not reuse the packages of an earlier build. */
  readonly refresh?: boolean;
  readonly note?: string;
};

/** A checked request with every default filled in. */
export type DebianPlan = {
  readonly data: DebianData;
  readonly release: string;
  readonly kernel: KernelData;
  readonly kernelName: string;
  readonly hostName: string;
  readonly rootPassword?: string;
  readonly rootKeys: readonly string[];
  readonly users: readonly BuildUser[];
  readonly packages: readonly string[];
  readonly ssh: boolean;
  readonly firstBoot?: string;
  readonly sizeBytes?: number;
  readonly reportPort: number;
};

const HOST_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;
const USER_NAME = /^[a-z_][a-z0-9_-]{0,31}$/;
const PACKAGE = /^[a-z0-9][a-z0-9.+-]+$/;
const SSH_KEY = /^(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+(?: [^\n\r]*)?$/;
/** A script, not an archive. */
const FIRST_BOOT_BYTES_MAX = 64 * 1024;
/** chpasswd reads one "name:password" per line. */
const PASSWORD = /^[^\n\r\0]{1,256}$/;

/**
 * Checks a request and fills in what it leaves out. Everything wrong is found at once: UserError
 * `build-request` lists it.
 */
export function planDebian(data: DebianData, request: BuildRequest, imageName: string): DebianPlan {
  const wrong: string[] = [];
  const check = (good: boolean, text: string): void => {
    if (!good) wrong.push(text);
  };
  const release = request.release ?? data.defaultRelease;
  check(data.releases.includes(release), `release "${release}": ${data.releases.join(' or ')}`);
  const kernelName = request.kernel ?? 'cloud';
  const kernel = data.kernels[kernelName];
  check(kernel !== undefined, `kernel "${kernelName}": cloud or generic`);
  const hostName = request.hostName ?? hostNameFrom(imageName);
  check(HOST_NAME.test(hostName), `host name "${hostName}": letters, digits and "-"`);
  const packages = [...new Set(request.packages)].sort();
  for (const p of packages) check(PACKAGE.test(p), `"${p}" is no Debian package name`);
  const users = request.users ?? [];
  for (const u of users) checkUser(u, check);
  check(new Set(users.map((u) => u.name)).size === users.length, 'a user is named twice');
  for (const k of request.sshKeys ?? []) check(SSH_KEY.test(k), `no SSH public key: "${k}"`);
  const { rootPassword, firstBoot, sizeBytes, reportPort = 8080 } = request;
  if (firstBoot !== undefined) checkScript(firstBoot, check);
  if (rootPassword !== undefined) check(PASSWORD.test(rootPassword), 'password of root: one line');
  check(reportPort > 0 && reportPort < 65536, `report port ${reportPort}: 1 to 65535`);
  if (wrong.length > 0) {
    throw new UserError('invalid', 'build-request', {
      what: 'the image cannot be built as asked',
      why: wrong.join('; '),
      todo: 'mend the options and try again',
    });
  }
  const rootKeys = request.sshKeys ?? [];
  const ssh = rootKeys.length > 0 || users.some((u) => (u.sshKeys ?? []).length > 0);
  return {
    data,
    release,
    kernel,
    kernelName,
    hostName,
    ...(rootPassword === undefined ? {} : { rootPassword }),
    rootKeys,
    users,
    packages,
    ssh,
    ...(firstBoot === undefined ? {} : { firstBoot }),
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
    reportPort,
  };
}

/** All packages of the base, in a stable order. */
export function basePackages(plan: DebianPlan): string[] {
  const { data } = plan;
  const ssh = plan.ssh ? data.sshPackages : [];
  return [...new Set([...data.packages, plan.kernel.package, ...ssh, ...plan.packages])].sort();
}

function checkUser(user: BuildUser, check: (good: boolean, text: string) => void): void {
  check(USER_NAME.test(user.name) && user.name !== 'root', `user name "${user.name}"`);
  if (user.password !== undefined) {
    check(PASSWORD.test(user.password), `password of ${user.name}: one line`);
  }
  for (const k of user.sshKeys ?? []) check(SSH_KEY.test(k), `no SSH public key: "${k}"`);
}

function checkScript(text: string, check: (good: boolean, text: string) => void): void {
  check(/^#!\S/.test(text), 'first-boot script: its first line names the program, as in #!/bin/sh');
  const bytes = Buffer.byteLength(text);
  check(bytes <= FIRST_BOOT_BYTES_MAX, `first-boot script: ${bytes} bytes, at most 65536`);
  check(!text.includes('\0'), 'first-boot script: text only');
}

function hostNameFrom(imageName: string): string {
  const name = imageName.replaceAll(/[^a-z0-9-]/gi, '-').replaceAll(/^-+|-+$/g, '');
  return name.slice(0, 63) || 'polyboot';
}
