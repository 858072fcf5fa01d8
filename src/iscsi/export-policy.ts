import { UserError } from '#base/mod.ts';
import { chapFault } from './chap.ts';
import { normalizeIscsiName } from './names.ts';
import { LoginStatus } from './policy.ts';
import type { ChapCredentials, DistantExport, ExportConfig, LoginQuestion } from './policy.ts';
import type { TargetPolicy, Verdict } from './policy.ts';

/**
 * The policy of a list of exports: access by initiator name, CHAP, redirection. Names are compared
 * in their canonical form.
 */
export class ExportPolicy implements TargetPolicy {
  readonly #exports = new Map<string, ExportConfig>();
  #distant: ReadonlyMap<string, DistantExport> = new Map();

  /** Throws `UserError` for names and credentials that cannot work, and for a name in use. */
  add(config: ExportConfig): ExportConfig {
    const iqn = normalizeIscsiName(config.iqn);
    if (iqn === undefined) throw badName('target', config.iqn);
    if (this.#exports.has(iqn)) {
      throw new UserError('conflict', 'target-exists', {
        what: `the target ${iqn} is exported already`,
        todo: 'choose another name, or remove the other export first',
      });
    }
    const fault = config.chap === undefined ? null : chapFault(config.chap);
    if (fault !== null) {
      throw new UserError('invalid', 'chap', { what: `${iqn} cannot be exported`, why: fault });
    }
    const kept: ExportConfig = { ...config, iqn, access: normalAccess(config.access) };
    this.#exports.set(iqn, kept);
    return kept;
  }

  /** False when there was no such export. */
  remove(iqn: string): boolean {
    return this.#exports.delete(normalizeIscsiName(iqn) ?? iqn);
  }

  /** Replaces the list of the targets that other threads have. */
  setDistant(exports: readonly DistantExport[]): void {
    this.#distant = new Map(
      exports.map((e) => [
        normalizeIscsiName(e.iqn) ?? e.iqn,
        { ...e, access: normalAccess(e.access) },
      ]),
    );
  }

  authorize(question: LoginQuestion): Verdict {
    const config = this.#exports.get(question.targetName);
    if (config === undefined) {
      const distant = this.#distant.get(question.targetName);
      if (distant !== undefined) return { kind: 'handover', home: distant.home };
      const reason = `there is no target ${question.targetName}`;
      return { kind: 'deny', status: LoginStatus.NOT_FOUND, reason };
    }
    if (!allows(config, question.initiatorName)) {
      const reason = `${question.initiatorName} may not use ${config.iqn}`;
      return { kind: 'deny', status: LoginStatus.AUTHORIZATION_FAILURE, reason };
    }
    if (config.redirect !== undefined) {
      const { address, port, permanent } = config.redirect;
      return { kind: 'redirect', portal: { address, port }, permanent: permanent ?? false };
    }
    return { kind: 'allow', chap: config.chap ?? null };
  }

  targetsFor(initiatorName: string): readonly string[] {
    const all = [...this.#exports.values(), ...this.#distant.values()];
    // While a target moves between threads both may know it.
    return [...new Set(all.filter((c) => allows(c, initiatorName)).map((c) => c.iqn))];
  }

  discoveryChap(): ChapCredentials | null {
    return null;
  }
}

function allows(config: Pick<ExportConfig, 'access'>, initiatorName: string): boolean {
  return config.access === 'any' || config.access.includes(initiatorName);
}

function normalAccess(access: ExportConfig['access']): ExportConfig['access'] {
  if (access === 'any') return 'any';
  return access.map((name) => {
    const normal = normalizeIscsiName(name);
    if (normal === undefined) throw badName('initiator', name);
    return normal;
  });
}

function badName(what: string, name: string): UserError {
  return new UserError('invalid', 'iscsi-name', {
    what: `"${name}" is no ${what} name`,
    why: 'an iSCSI name is iqn.YYYY-MM.domain[:text], eui. or naa., at most 223 bytes',
  });
}
