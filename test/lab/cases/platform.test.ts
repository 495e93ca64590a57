import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { truncate } from "node:fs/promises";
import { ensurePackages } from "../../setup/packages.ts";
import { Guest } from "../guest.ts";
import { assetsOf, CASE_TIMEOUT_MS, toolsRoot, unexpectedWarnings, vmm, Workspace } from "./support.ts";

const UUID = "c5b4f3a2-1d0e-4f6b-8a97-0123456789ab";

describe("what the user says of the machine, and the devices that come with it", () => {
  const resources = new AsyncDisposableStack();
  let guest: Guest;
  let shared: string;

  beforeAll(async () => {
    await ensurePackages(["swtpm"]);
    const assets = await assetsOf("6.12");
    const workspace = resources.use(await Workspace.make());
    const socket = workspace.path("swtpm.sock");
    const swtpm = Bun.spawn(
      ["swtpm", "socket", "--tpm2", "--tpmstate", `dir=${workspace.dir}`, "--ctrl", `type=unixio,path=${socket}`],
      { stdio: ["ignore", "ignore", "ignore"] },
    );
    resources.defer(async () => {
      swtpm.kill("SIGKILL");
      await swtpm.exited;
    });
    while (
      !(await Bun.file(socket)
        .stat()
        .catch(() => undefined))
    )
      await Bun.sleep(10);
    shared = workspace.path("shared");
    await Bun.write(shared, "from the host");
    await truncate(shared, 1 << 20);
    const item = workspace.path("item");
    await Bun.write(item, "from a file\n");
    const platform = [
      ...["serial_number=serial-42", `uuid=${UUID}`, "oem_strings=[first,second thing]"],
      ...["system_manufacturer=Maker", "system_product_name=Product", "system_version=v7", "system_family=Family"],
      ...["system_sku_number=SKU-1", "chassis_asset_tag=asset-9"],
    ];
    guest = resources.use(
      await Guest.start(vmm, {
        assets,
        kernelFormat: "vmlinux",
        vcpus: 2,
        memoryMiB: 512,
        console: "hvc0",
        ...toolsRoot(assets),
        options: [
          ...["--platform", platform.join(","), "--tpm", `socket=${socket}`],
          ...["--ivshmem", `path=${shared},size=1M`],
          ...["--fw-cfg-config", `items=[name=opt/lab/text,string=a word:name=opt/lab/file,file=${item}]`],
        ],
      }),
    );
    await guest.ready();
  }, CASE_TIMEOUT_MS);

  afterAll(() => resources.disposeAsync());

  test("SMBIOS: identifiers of the system and the chassis, and OEM strings", async () => {
    const seen = await guest.run(
      "cd /sys/class/dmi/id; for f in sys_vendor product_name product_version product_serial product_uuid product_sku " +
        "product_family chassis_asset_tag; do cat $f; done; strings /sys/firmware/dmi/tables/DMI | tail -2",
    );
    expect(seen.split("\n")).toEqual(
      ["Maker", "Product", "v7", "serial-42", UUID, "SKU-1", "Family", "asset-9"].concat("first", "second thing"),
    );
  });

  test("TPM 2.0: random bytes, and a PCR that is extended", async () => {
    await guest.run("modprobe -q tpm_crb || [ -e /dev/tpmrm0 ]");
    expect(await guest.run("cat /sys/class/tpm/tpm0/tpm_version_major")).toBe("2");
    const bytes = await guest.run(
      "export TPM2TOOLS_TCTI=device:/dev/tpmrm0; tpm2_getrandom --hex 20 && echo && tpm2_getrandom --hex 20",
    );
    expect(bytes).toMatch(/^[0-9a-f]{40}\n[0-9a-f]{40}$/);
    const [one, other] = bytes.split("\n");
    expect(one).not.toBe(other);
  });

  test("ivshmem: the file is the memory of BAR 2", async () => {
    const found = await guest.run(
      "cd /sys/bus/pci/devices; for d in *; do [ $(cat $d/device) = 0x1110 ] && echo $d $(cat $d/class); done; true",
    );
    expect(found).toMatch(/^0000:00:[0-9a-f]{2}\.0 0x050000$/);
    const folder = `/sys/bus/pci/devices/${found.split(" ")[0]}`;
    expect(await guest.run(`stat -c %s ${folder}/resource2`)).toBe(String(1 << 20));
    await guest.run(`echo 1 >${folder}/enable; devmem $(sed -n '3s/ .*//p' ${folder}/resource) 32 0x74736574`);
    expect(await Bun.file(shared).slice(0, 13).text()).toBe("test the host");
  });

  test("fw_cfg: the user's items, the command line and the memory map", async () => {
    await guest.run("modprobe qemu_fw_cfg");
    const folder = "/sys/firmware/qemu_fw_cfg";
    expect(await guest.run(`cat ${folder}/rev`)).toBe("3");
    expect(await guest.run(`cat ${folder}/by_name/opt/lab/text/raw`)).toBe("a word");
    expect(await guest.run(`cat ${folder}/by_name/opt/lab/file/raw`)).toBe("from a file");
    expect(await guest.run(`cd ${folder}/by_name; echo etc/* acpi/*`)).toBe(
      "etc/e820 etc/table-loader acpi/rsdp acpi/tables",
    );
    expect(Number(await guest.run(`wc -c <${folder}/by_name/etc/e820/raw`))).toBe(100);
  });

  test("the VM generation identifier has its driver", async () => {
    await guest.run("modprobe -q vmgenid; true");
    expect(await guest.run("ls /sys/bus/*/drivers/vmgenid")).toMatch(/CLDH0001:00|VMGENCTR/);
  });

  test("dmesg: no warning, no error, no BUG", async () => {
    expect(await unexpectedWarnings(guest)).toEqual([]);
  });
});
