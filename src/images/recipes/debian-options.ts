import { UserError } from '#base/mod.ts';
import data from './debian.json' with { type: 'json' };

/** A login of the built system. */
export type BuildUser = {
  readonly name: string;
  /** Absent: no password login, keys only. */
  readonly password?: string;
  readonly sshKeys?: readonly string[];
};

/** What to build. Everything but the recipe has a default. */
export type BuildRequest = {
  readonly recipe: 'debian';
  readonly release?: string;
  /** `cloud`: small and quick, for virtual machines. `generic`: drivers for real computers. */
  readonly kernel?: 'cloud' | 'generic';
  /** Default: the image's name. */
  readonly hostName?: string;
  /** Default: root logs in without a password, on the consoles only. */
  readonly rootPassword?: string;
  /** For root; with any key, an SSH server is installed. */
  readonly sshKeys?: readonly string[];
  readonly users?: readonly BuildUser[];
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
  readonly release: string;
  readonly kernel: (typeof data.kernels)[keyof typeof data.kernels];
  readonly kernelName: string;
  readonly hostName: string;
  readonly rootPassword?: string;
  readonly rootKeys: readonly string[];
  readonly users: readonly BuildUser[];
  readonly packages: readonly string[];
  readonly ssh: boolean;
  readonly sizeBytes?: number;
  readonly reportPort: number;
};

const HOST_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;
const USER_NAME = /^[a-z_][a-z0-9_-]{0,31}$/;
const PACKAGE = /^[a-z0-9][a-z0-9.+-]+$/;
const SSH_KEY = /^(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+(?: [^\n\r]*)?$/;
/** chpasswd reads one "name:password" per line. */
const PASSWORD = /^[^\n\r\0]{1,256}$/;

/**
 * Checks a request and fills in what it leaves out. Everything wrong is found at once: UserError
 * `build-request` lists it.
 */
export function planDebian(request: BuildRequest, imageName: string): DebianPlan {
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
  const { rootPassword, sizeBytes, reportPort = 8080 } = request;
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
    release,
    kernel,
    kernelName,
    hostName,
    ...(rootPassword === undefined ? {} : { rootPassword }),
    rootKeys,
    users,
    packages,
    ssh,
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
    reportPort,
  };
}

/** All packages of the base, in a stable order. */
export function basePackages(plan: DebianPlan): string[] {
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

function hostNameFrom(imageName: string): string {
  const name = imageName.replaceAll(/[^a-z0-9-]/gi, '-').replaceAll(/^-+|-+$/g, '');
  return name.slice(0, 63) || 'polyboot';
}
