// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow, IToken} from "./Escrow.sol";
import {ESCROW_CODE, TOKEN_CODE} from "./Code.sol";

interface Vm {
    function prank(address sender) external;
    function warp(uint256 timestamp) external;
}

/// @title Statements that halmos proves of the shipped code for every input, whatever a signature recovers to.
/// @dev Code.sol is written by the one who runs this: the bytes of the artifacts. A `check_control_` must be refuted:
/// it says that something cannot happen which can, so a proof of it would mean that the others prove nothing.
contract CheckEscrow {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    address private constant PAYER = address(0xA1);
    address private constant PROVIDER = address(0xB1);
    address private constant SIGNER = address(0xC1);
    address private constant NOBODY = 0x000000000000000000000000000000000000dEaD;
    uint40 private constant STEP = 60;
    uint8 private constant STEPS = 24;
    uint256 private constant START = 1_800_000_000;
    /// @dev What others have in the escrow: a call that pays out too much can pay it, and is found out.
    uint96 private constant OTHERS = type(uint96).max;

    struct LaneState {
        uint96 balance;
        uint96 claimed;
        uint40 exitAt;
        uint40 delaySeconds;
        uint16 epoch;
    }

    /// @dev Signatures of both parties: one alone can never recover to two accounts.
    struct Two {
        bytes32 r;
        bytes32 s;
        uint8 v;
        bytes32 r2;
        bytes32 s2;
        uint8 v2;
    }

    IEscrow private escrow;
    IToken private token;

    function setUp() public {
        vm.warp(START);
        token = IToken(_create(TOKEN_CODE));
        escrow = IEscrow(_create(bytes.concat(ESCROW_CODE, abi.encode(address(token), STEP, STEPS))));
        token.approve(address(escrow), type(uint256).max);
        token.mint(address(this), type(uint128).max);
        escrow.deposit(SIGNER, SIGNER, SIGNER, OTHERS);
    }

    function _create(bytes memory code) private returns (address made) {
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        assert(made != address(0));
    }

    function _lane() private view returns (LaneState memory state) {
        (state.balance, state.claimed, state.exitAt, state.delaySeconds, state.epoch) =
            escrow.lane(PAYER, PROVIDER, SIGNER);
    }

    function _held() private view returns (uint256) {
        uint256 all = token.balanceOf(address(escrow));
        assert(all >= OTHERS);
        return all - OTHERS;
    }

    function _tried(address sender, bytes memory call_) private returns (bool done) {
        vm.prank(sender);
        (done,) = address(escrow).call(call_);
    }

    // --- draw

    /// @dev I1, I2, I5, I10, I11: any 96 bytes.
    function check_any_row_pays_what_it_claims_once(uint96 filled, bytes32 a, bytes32 b, bytes32 c) public {
        if (filled == 0) return;
        escrow.deposit(PAYER, PROVIDER, SIGNER, filled);
        bytes memory row = abi.encodePacked(a, b, c);
        uint256 promised = escrow.previewRedeem(PROVIDER, row);
        uint256 paid = escrow.redeemMany(PROVIDER, row);
        LaneState memory state = _lane();
        assert(paid == promised && paid == state.claimed && paid == token.balanceOf(PROVIDER));
        assert(state.claimed <= state.balance && state.balance == filled);
        assert(paid == 0 || (paid <= uint96(uint256(a)) && address(bytes20(a)) == PAYER));
        assert(_held() == uint256(state.balance) - state.claimed);
        assert(state.exitAt == 0 && state.epoch == 0 && state.delaySeconds == uint40(STEPS) * STEP);
        assert(escrow.redeemMany(PROVIDER, row) == 0);
    }

    function check_control_a_row_can_pay(uint96 filled, bytes32 a, bytes32 b, bytes32 c) public {
        if (filled == 0) return;
        escrow.deposit(PAYER, PROVIDER, SIGNER, filled);
        assert(escrow.redeemMany(PROVIDER, abi.encodePacked(a, b, c)) == 0);
    }

    // --- leave

    /// @dev I6, I7, I8: whatever a stranger adds meanwhile, at every moment.
    function check_an_exit_ends_at_its_time_and_pays_everything(uint96 filled, uint96 more, uint40 waited) public {
        if (filled == 0 || more == 0 || filled > type(uint96).max - more) return;
        escrow.deposit(PAYER, PROVIDER, SIGNER, filled);
        vm.prank(PAYER);
        escrow.startExit(PROVIDER, SIGNER);
        escrow.deposit(PAYER, PROVIDER, SIGNER, more);
        if (waited > 365 days) return;
        vm.warp(START + waited);
        bool done = _tried(address(this), abi.encodeCall(IEscrow.finishExit, (PAYER, PROVIDER, SIGNER)));
        assert(done == (waited >= uint40(STEPS) * STEP));
        if (!done) return;
        assert(token.balanceOf(PAYER) == uint256(filled) + more && _held() == 0);
        LaneState memory state = _lane();
        assert(state.exitAt == 0 && state.epoch == 1 && state.balance == state.claimed);
    }

    function check_control_an_exit_can_end(uint96 filled, uint40 waited) public {
        if (filled == 0 || waited > 365 days) return;
        escrow.deposit(PAYER, PROVIDER, SIGNER, filled);
        vm.prank(PAYER);
        escrow.startExit(PROVIDER, SIGNER);
        vm.warp(START + waited);
        assert(!_tried(address(this), abi.encodeCall(IEscrow.finishExit, (PAYER, PROVIDER, SIGNER))));
    }

    /// @dev I9: any signatures, any split, any deadline.
    function check_a_close_moves_exactly_what_it_says(uint96 filled, uint96 agreed, uint40 until, Two calldata both)
        public
    {
        if (filled == 0) return;
        escrow.deposit(PAYER, PROVIDER, SIGNER, filled);
        bool done = _tried(address(this), _close(agreed, until, both));
        LaneState memory state = _lane();
        if (!done) {
            assert(state.balance == filled && state.epoch == 0 && _held() == filled);
            return;
        }
        assert(agreed <= filled && until >= START);
        assert(token.balanceOf(PROVIDER) == agreed && token.balanceOf(PAYER) == filled - agreed && _held() == 0);
        assert(state.balance == agreed && state.claimed == agreed && state.epoch == 1);
    }

    function check_control_a_close_can_happen(uint96 filled, uint96 agreed, uint40 until, Two calldata both) public {
        if (filled == 0) return;
        escrow.deposit(PAYER, PROVIDER, SIGNER, filled);
        assert(!_tried(address(this), _close(agreed, until, both)));
    }

    function _close(uint96 agreed, uint40 until, Two calldata both) private pure returns (bytes memory) {
        bytes memory a = abi.encodePacked(both.r, both.s, both.v);
        bytes memory b = abi.encodePacked(both.r2, both.s2, both.v2);
        return abi.encodeCall(IEscrow.closeTogether, (PAYER, PROVIDER, SIGNER, agreed, until, a, b));
    }

    /// @dev Any signature; only the payer, only what was not drawn, and the lane stays as it is otherwise.
    function check_a_release_gives_back_what_is_above(
        address sender,
        uint96 filled,
        uint96 kept,
        uint40 until,
        bytes32 r,
        bytes32 s,
        uint8 v
    ) public {
        if (filled == 0 || sender == address(escrow)) return;
        escrow.deposit(PAYER, PROVIDER, SIGNER, filled);
        bytes memory consent = abi.encodePacked(r, s, v);
        bool done = _tried(sender, abi.encodeCall(IEscrow.release, (PROVIDER, SIGNER, kept, until, consent)));
        LaneState memory state = _lane();
        if (done) assert(sender == PAYER && kept < filled && until >= START);
        assert(state.balance == (done ? kept : filled) && state.epoch == (done ? 1 : 0));
        assert(state.claimed == 0 && state.exitAt == 0 && _held() == state.balance);
        assert(!done || token.balanceOf(PAYER) == filled - kept);
    }

    function check_control_a_release_can_happen(uint96 filled, uint96 kept, uint40 until, bytes32 r, bytes32 s, uint8 v)
        public
    {
        if (filled == 0) return;
        escrow.deposit(PAYER, PROVIDER, SIGNER, filled);
        bytes memory consent = abi.encodePacked(r, s, v);
        assert(!_tried(PAYER, abi.encodeCall(IEscrow.release, (PROVIDER, SIGNER, kept, until, consent))));
    }

    // --- delays

    /// @dev A stranger never changes a delay; the payer never shortens one that money is held under (A1, I7).
    function check_a_delay_only_grows(address sender, uint8 first, uint8 second) public {
        if (sender == address(escrow) || sender == address(0) || sender == address(token)) return;
        token.mint(PAYER, 1);
        token.mint(sender, 1);
        _approve(PAYER);
        _approve(sender);
        assert(_tried(PAYER, _many(first)));
        uint40 before = _lane().delaySeconds;
        bool done = _tried(sender, _many(second));
        uint40 now_ = _lane().delaySeconds;
        assert(before == uint40(first == 0 ? STEPS : first) * STEP && now_ >= before);
        if (sender != PAYER) assert(now_ == before && done == (second == 0));
    }

    function check_control_a_delay_can_grow(uint8 first, uint8 second) public {
        token.mint(PAYER, 2);
        _approve(PAYER);
        assert(_tried(PAYER, _many(first)));
        uint40 before = _lane().delaySeconds;
        _tried(PAYER, _many(second));
        assert(_lane().delaySeconds == before);
    }

    function _approve(address owner) private {
        vm.prank(owner);
        token.approve(address(escrow), 10);
    }

    function _many(uint8 steps) private pure returns (bytes memory) {
        IEscrow.Deposit[] memory one = new IEscrow.Deposit[](1);
        one[0] = IEscrow.Deposit(PAYER, PROVIDER, SIGNER, 1, steps);
        return abi.encodeCall(IEscrow.depositMany, (one));
    }

    // --- stake

    /// @dev I13: whatever amount, two different bodies and any signatures.
    function check_a_slash_takes_half_and_burns_most(uint96 staked, bytes32 r, bytes32 s, uint8 v) public {
        bool done = _slashed(staked, r, s, v);
        (uint96 left,) = escrow.stakeOf(PROVIDER);
        if (!done) {
            assert(left == staked);
            return;
        }
        uint256 taken = uint256(staked) - left;
        assert(left == staked / 2 && _held() == left);
        assert(token.balanceOf(SIGNER) == taken / 4 && token.balanceOf(NOBODY) == taken - taken / 4);
    }

    function check_control_a_slash_can_happen(uint96 staked, bytes32 r, bytes32 s, uint8 v) public {
        assert(!_slashed(staked, r, s, v));
    }

    function _slashed(uint96 staked, bytes32 r, bytes32 s, uint8 v) private returns (bool) {
        token.mint(PROVIDER, staked);
        vm.prank(PROVIDER);
        token.approve(address(escrow), type(uint256).max);
        if (staked != 0) assert(_tried(PROVIDER, abi.encodeCall(IEscrow.addStake, (staked))));
        bytes memory signature = abi.encodePacked(r, s, v);
        return _tried(
            SIGNER,
            abi.encodeCall(
                IEscrow.slashEquivocation, (PROVIDER, 0, "lease", 1, "one", signature, "other", signature)
            )
        );
    }
}
