// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow, IToken} from "./Escrow.sol";

/// @dev The few cheats of forge that these tests need; its library of them is not pinned anywhere we install from.
interface Vm {
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function addr(uint256 key) external pure returns (address);
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function warp(uint256 timestamp) external;
    function chainId(uint256 id) external;
    function assume(bool condition) external pure;
    function expectEmit(address emitter) external;
    function envOr(string calldata name, string calldata otherwise) external view returns (string memory);
    function readFile(string calldata path) external view returns (string memory);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
}

/// @title One deployed escrow, keys for everybody, and what they sign: all digests are made here by hand.
abstract contract Rig {
    struct Sides {
        address payer;
        address provider;
        address signer;
    }

    struct LaneState {
        uint96 balance;
        uint96 claimed;
        uint40 exitAt;
        uint40 delaySeconds;
        uint16 epoch;
    }

    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint40 internal constant STEP = 60;
    uint8 internal constant DEFAULT_STEPS = 24;
    uint40 internal constant WINDOW = STEP * DEFAULT_STEPS;
    uint40 internal constant STAKE_WINDOW = 2 * 255 * STEP;
    address internal constant NOBODY = 0x000000000000000000000000000000000000dEaD;
    uint256 internal constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    bytes32 internal constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    uint256 internal constant PAYER = 0xA11;
    uint256 internal constant PROVIDER = 0xB21;
    uint256 internal constant SESSION = 0xC31;
    uint256 internal constant STRANGER = 0xD41;

    IEscrow internal escrow;
    IToken internal token;
    /// @dev One lane, of the four keys above.
    Sides internal sides;
    address internal stranger;

    // --- the world

    function _deployAll() internal {
        vm.warp(1_800_000_000);
        sides = Sides(vm.addr(PAYER), vm.addr(PROVIDER), vm.addr(SESSION));
        stranger = vm.addr(STRANGER);
        token = IToken(_deployShipped("TestToken", ""));
        escrow = IEscrow(_deployEscrow(address(token), STEP, DEFAULT_STEPS));
        token.approve(address(escrow), type(uint256).max);
        token.mint(address(this), type(uint128).max);
    }

    function _deployEscrow(address token_, uint40 step, uint8 steps) internal returns (address) {
        return _deploy(_escrowCode(), abi.encode(token_, step, steps));
    }

    /// @dev A mutant's artifact takes the place of the shipped one when it is named in the environment.
    function _escrowCode() internal view returns (bytes memory) {
        return _code(vm.envOr("ESCROW_JSON", "../../ledger/contracts/Escrow.json"));
    }

    function _deployShipped(string memory name, bytes memory arguments) internal returns (address) {
        return _deploy(_code(string.concat("../../ledger/contracts/", name, ".json")), arguments);
    }

    function _deployOddToken(string memory name) internal returns (IToken) {
        return IToken(_deploy(_code(string.concat("../fakes/tokens/", name, ".json")), ""));
    }

    function _code(string memory path) internal view returns (bytes memory) {
        return vm.parseJsonBytes(vm.readFile(path), ".bin");
    }

    function _deploy(bytes memory code, bytes memory arguments) internal returns (address made) {
        made = _create(bytes.concat(code, arguments));
        require(made != address(0), "the deployment failed");
    }

    function _create(bytes memory code) internal returns (address made) {
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
    }

    // --- who signs what

    function _domain() internal view returns (bytes32) {
        bytes32 name = keccak256("ComputeFabric Escrow");
        return keccak256(abi.encode(DOMAIN_TYPE, name, keccak256("1"), block.chainid, address(escrow)));
    }

    function _typed(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", _domain(), structHash));
    }

    function _voucherDigest(Sides memory of_, uint96 cumulative) internal view returns (bytes32) {
        bytes32 kind = keccak256("Voucher(address payer,address provider,uint96 cumulative)");
        return _typed(keccak256(abi.encode(kind, of_.payer, of_.provider, cumulative)));
    }

    function _closeDigest(Sides memory of_, uint16 epoch, uint96 cumulative, uint40 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes32 kind = keccak256(
            "Close(address payer,address provider,address signer,uint16 epoch,uint96 cumulative,uint40 deadline)"
        );
        return _typed(keccak256(abi.encode(kind, of_, epoch, cumulative, deadline)));
    }

    function _releaseDigest(Sides memory of_, uint16 epoch, uint96 newBalance, uint40 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes32 kind = keccak256(
            "Release(address payer,address provider,address signer,uint16 epoch,uint96 newBalance,uint40 deadline)"
        );
        return _typed(keccak256(abi.encode(kind, of_, epoch, newBalance, deadline)));
    }

    function _statementDigest(uint8 kind, bytes32 subject, uint64 seq, bytes32 body) internal view returns (bytes32) {
        bytes32 receipt = keccak256("Receipt(bytes32 lease,uint64 seq,bytes32 body)");
        bytes32 grant = keccak256("Grant(bytes32 slot,uint64 seq,bytes32 body)");
        return _typed(keccak256(abi.encode(kind == 0 ? receipt : grant, subject, seq, body)));
    }

    /// @dev 65 bytes: r, s, v.
    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev 64 bytes: r, and s with the parity in its top bit (EIP-2098).
    function _signCompact(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    /// @dev One row of a batch, signed with `key` whatever the lane's signer is.
    function _row(uint256 key, Sides memory of_, uint96 cumulative) internal view returns (bytes memory) {
        return abi.encodePacked(of_.payer, cumulative, _signCompact(key, _voucherDigest(of_, cumulative)));
    }

    // --- short ways to look and to judge

    function _lane(Sides memory of_) internal view returns (LaneState memory state) {
        (state.balance, state.claimed, state.exitAt, state.delaySeconds, state.epoch) =
            escrow.lane(of_.payer, of_.provider, of_.signer);
    }

    function _now() internal view returns (uint40) {
        return uint40(block.timestamp);
    }

    function _deposit(Sides memory of_, uint96 amount) internal {
        escrow.deposit(of_.payer, of_.provider, of_.signer, amount);
    }

    /// @dev Call the escrow as `sender`; whether it went through.
    function _tried(address sender, bytes memory call_) internal returns (bool done) {
        vm.prank(sender);
        (done,) = address(escrow).call(call_);
    }

    function _refused(address sender, bytes memory call_, bytes4 why) internal {
        _refused(sender, call_, abi.encodeWithSelector(why));
    }

    function _refused(address sender, bytes memory call_, bytes4 why, uint256 detail) internal {
        _refused(sender, call_, abi.encodeWithSelector(why, detail));
    }

    function _refused(address sender, bytes memory call_, bytes4 why, address detail) internal {
        _refused(sender, call_, abi.encodeWithSelector(why, detail));
    }

    /// @dev The escrow must refuse `call_` for exactly this reason.
    function _refused(address sender, bytes memory call_, bytes memory reason) internal {
        vm.prank(sender);
        (bool done, bytes memory answer) = address(escrow).call(call_);
        require(!done, "accepted what must be refused");
        require(keccak256(answer) == keccak256(reason), "refused for another reason");
    }

    function _same(uint256 found, uint256 wanted, string memory what) internal pure {
        if (found != wanted) revert(string.concat(what, ": ", _text(found), " instead of ", _text(wanted)));
    }

    function _text(uint256 number) internal pure returns (string memory digits) {
        do {
            digits = string.concat(string(abi.encodePacked(uint8(48 + number % 10))), digits);
            number /= 10;
        } while (number != 0);
    }
}
