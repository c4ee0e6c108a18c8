// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow} from "./Escrow.sol";
import {Rig} from "./Rig.sol";

/// @title Money is drawn: what a batch of vouchers pays, and to whom.
contract DrawTest is Rig {
    uint96 private constant MOST = type(uint96).max;
    /// @dev x of the curve's generator, whose y is even: the r of a signature made with the number 1.
    uint256 private constant GENERATOR_X = 0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798;
    uint256 private constant HALF_ORDER = ORDER / 2;

    function setUp() public {
        _deployAll();
    }

    /// @dev Redeem as anybody and check everything that a batch may touch.
    function _redeems(bytes memory rows, uint256 wanted) private {
        uint256 before = token.balanceOf(sides.provider);
        _same(escrow.previewRedeem(sides.provider, rows), wanted, "I11: preview");
        vm.expectEmit(address(escrow));
        emit IEscrow.Redeemed(sides.provider, wanted, rows.length / 96);
        _same(escrow.redeemMany(sides.provider, rows), wanted, "paid");
        _same(token.balanceOf(sides.provider) - before, wanted, "I11: arrived");
        _same(escrow.redeemMany(sides.provider, rows), 0, "I5: a second time");
    }

    function test_a_voucher_pays_once_and_a_newer_one_the_difference() public {
        _deposit(sides, 100);
        _redeems(_row(SESSION, sides, 40), 40);
        _redeems(_row(SESSION, sides, 30), 0);
        _redeems(_row(SESSION, sides, 65), 25);
        LaneState memory state = _lane(sides);
        _same(state.claimed, 65, "claimed");
        _same(state.balance, 100, "balance");
        _same(token.balanceOf(address(escrow)), 35, "I1");
    }

    function test_more_than_there_is_pays_what_there_is_and_the_rest_after_a_refill() public {
        _deposit(sides, 10);
        bytes memory row = _row(SESSION, sides, 25);
        _redeems(row, 10);
        _deposit(sides, 8);
        _redeems(row, 8);
        _deposit(sides, 100);
        _redeems(row, 7);
        _same(_lane(sides).claimed, 25, "claimed");
    }

    function test_the_largest_amounts_do_not_spill_into_other_fields() public {
        _deposit(sides, MOST);
        vm.prank(sides.payer);
        escrow.startExit(sides.provider, sides.signer);
        _redeems(_row(SESSION, sides, MOST - 1), MOST - 1);
        _redeems(_row(SESSION, sides, MOST), 1);
        LaneState memory state = _lane(sides);
        _same(state.claimed, MOST, "claimed");
        _same(state.balance, MOST, "balance");
        _same(state.exitAt, _now() + WINDOW, "exit");
        _same(state.delaySeconds, WINDOW, "delay");
        _same(state.epoch, 0, "epoch");
    }

    function test_a_batch_pays_each_lane_its_newest_voucher() public {
        Sides memory other = Sides(stranger, sides.provider, vm.addr(STRANGER));
        _deposit(sides, 100);
        _deposit(other, 50);
        bytes memory rows = bytes.concat(
            _row(SESSION, sides, 10),
            _row(STRANGER, other, 60),
            _row(SESSION, sides, 30),
            _row(SESSION, sides, 20),
            _row(STRANGER, other, 20)
        );
        _redeems(rows, 30 + 50);
        _same(_lane(sides).claimed, 30, "claimed");
        _same(_lane(other).claimed, 50, "claimed");
    }

    function test_an_empty_batch_pays_nothing_and_a_broken_one_is_refused() public {
        _deposit(sides, 100);
        _redeems("", 0);
        bytes memory row = _row(SESSION, sides, 40);
        bytes memory broken = bytes.concat(row, hex"00");
        bytes4 why = IEscrow.NotWholeRows.selector;
        _refused(stranger, abi.encodeCall(IEscrow.redeemMany, (sides.provider, broken)), why, 97);
        _refused(stranger, abi.encodeCall(IEscrow.previewRedeem, (sides.provider, broken)), why, 97);
        _refused(sides.provider, abi.encodeCall(IEscrow.redeemManyTo, (stranger, broken)), why, 97);
    }

    function test_vouchers_of_other_places_pay_nothing() public {
        _deposit(sides, 100);
        _redeems(_row(STRANGER, sides, 40), 0);
        _redeems(_row(PAYER, sides, 40), 0);
        _redeems(_row(SESSION, Sides(sides.payer, stranger, sides.signer), 40), 0);
        _redeems(_row(SESSION, Sides(stranger, sides.provider, sides.signer), 40), 0);
        vm.chainId(block.chainid + 1);
        bytes memory elsewhere = _row(SESSION, sides, 40);
        vm.chainId(block.chainid - 1);
        _redeems(elsewhere, 0);
        IEscrow first = escrow;
        escrow = IEscrow(_deployEscrow(address(token), STEP, DEFAULT_STEPS));
        elsewhere = _row(SESSION, sides, 40);
        escrow = first;
        _redeems(elsewhere, 0);
        _redeems(bytes.concat(elsewhere, _row(STRANGER, sides, 99), _row(SESSION, sides, 7)), 7);
    }

    function test_on_a_fork_with_another_chain_id_the_old_vouchers_are_dead() public {
        _deposit(sides, 100);
        bytes memory row = _row(SESSION, sides, 40);
        vm.chainId(block.chainid + 1);
        _redeems(row, 0);
        _redeems(_row(SESSION, sides, 40), 40);
    }

    function testFuzz_a_tampered_row_pays_nothing(uint256 place, uint8 flip) public {
        _deposit(sides, 100);
        bytes memory row = _row(SESSION, sides, 40);
        row[place % 96] ^= bytes1(flip == 0 ? 1 : flip);
        _redeems(row, 0);
    }

    function testFuzz_garbage_never_reverts_and_pays_nothing(bytes32 a, bytes32 b, bytes32 c) public {
        _deposit(sides, 100);
        _redeems(abi.encodePacked(a, b, c), 0);
        _redeems(abi.encodePacked(sides.payer, uint96(uint256(a)), b, c), 0);
    }

    function testFuzz_a_batch_pays_the_highest_voucher_as_far_as_there_is_money(uint96 filled, uint96[6] calldata asks)
        public
    {
        filled = filled == 0 ? 1 : filled;
        _deposit(sides, filled);
        (uint96 most, bytes memory rows) = (0, "");
        for (uint256 i; i < asks.length; ++i) {
            if (asks[i] > most) most = asks[i];
            rows = bytes.concat(rows, _row(SESSION, sides, asks[i]));
        }
        _redeems(rows, most < filled ? most : filled);
    }

    /// @dev The keys are chosen so that, with the number 1, their signatures of this very voucher have the s we want:
    /// the largest one that is low, and the smallest that is not. Random ones come that near about once in 2^127.
    function test_a_signature_in_its_high_form_pays_nothing() public {
        uint256 s = HALF_ORDER + 1;
        _laneSignedWith(s);
        _redeems(abi.encodePacked(sides.payer, uint96(40), GENERATOR_X, s), 0);
        _same(_lane(sides).claimed, 0, "A7");
        // The same signature in its low form, whose parity is the other one.
        _redeems(abi.encodePacked(sides.payer, uint96(40), GENERATOR_X, (ORDER - s) | (1 << 255)), 40);
        _laneSignedWith(HALF_ORDER);
        _redeems(abi.encodePacked(sides.payer, uint96(40), GENERATOR_X, HALF_ORDER), 40);
    }

    function _laneSignedWith(uint256 s) private {
        bytes32 digest = _voucherDigest(sides, 40);
        uint256 product = addmod(s, ORDER - uint256(digest) % ORDER, ORDER);
        sides.signer = vm.addr(mulmod(product, _inverse(GENERATOR_X), ORDER));
        require(ecrecover(digest, 27, bytes32(GENERATOR_X), bytes32(s)) == sides.signer, "not a signature");
        _deposit(sides, 100);
    }

    /// @dev A row whose signature is nobody's comes after a good one, whose traces in memory must not sign for it.
    function test_a_failed_recovery_finds_no_signer_left_over() public {
        _deposit(sides, 100);
        bytes32 id = keccak256(abi.encodePacked(sides.payer, sides.provider, sides.signer));
        _deposit(Sides(sides.payer, sides.provider, address(uint160(uint256(id)))), 100);
        _deposit(Sides(sides.payer, sides.provider, sides.payer), 100);
        bytes memory nobodys = abi.encodePacked(sides.payer, uint96(50), new bytes(64));
        _redeems(bytes.concat(_row(SESSION, sides, 40), nobodys), 40);
    }

    function _inverse(uint256 number) private pure returns (uint256 result) {
        result = 1;
        for (uint256 power = ORDER - 2; power != 0; power >>= 1) {
            if (power & 1 == 1) result = mulmod(result, number, ORDER);
            number = mulmod(number, number, ORDER);
        }
    }

    function test_a_provider_may_have_its_own_money_sent_elsewhere() public {
        _deposit(sides, 100);
        bytes memory row = _row(SESSION, sides, 40);
        uint256 before = token.balanceOf(stranger);
        _same(_redeemsTo(stranger, stranger, row), 0, "somebody else's vouchers");
        vm.expectEmit(address(escrow));
        emit IEscrow.Redeemed(sides.provider, 40, 1);
        _same(_redeemsTo(sides.provider, stranger, row), 40, "its own");
        _same(token.balanceOf(stranger) - before, 40, "arrived");
        _same(token.balanceOf(sides.provider), 0, "not at home");
        _same(_redeemsTo(sides.provider, stranger, row), 0, "I5");
        _same(_lane(sides).claimed, 40, "claimed");
    }

    function test_money_is_not_sent_to_nobody() public {
        _deposit(sides, 100);
        bytes memory row = _row(SESSION, sides, 40);
        address[2] memory nobody = [address(0), address(escrow)];
        for (uint256 i; i < 2; ++i) {
            bytes memory call_ = abi.encodeCall(IEscrow.redeemManyTo, (nobody[i], row));
            _refused(sides.provider, call_, IEscrow.NotAParty.selector, nobody[i]);
        }
        _same(_lane(sides).claimed, 0, "claimed");
    }

    function _redeemsTo(address sender, address to, bytes memory rows) private returns (uint256) {
        vm.prank(sender);
        return escrow.redeemManyTo(to, rows);
    }

    function test_the_digest_is_the_one_that_signers_make() public view {
        bytes32 digest = escrow.voucherDigest(sides.payer, sides.provider, 41);
        require(digest == _voucherDigest(sides, 41), "voucher");
    }
}
